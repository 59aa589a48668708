"""The choice among sites that lose channels together, in rounds."""

from collections.abc import Callable, Sequence

from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.candidates import Candidate, SiteCandidates
from worker.engine.selection.channels.coupling import Coupling

_ROUNDS = 12
BestWithin = Callable[[Sequence[SiteCandidates], Sequence[int]], list[Candidate] | None]
"""Returns the best choice within an amount of each budget, at the costs of these candidates."""


class CoupledChoice:
    """The search for a choice among sites that lose channels together.

    Each round allocates the budgets at the costs of a change from the choice of the round before.
    What that choice spends beyond a budget is taken from the budget of the next round.
    """

    def __init__(
        self,
        candidates: Sequence[SiteCandidates],
        coupling: Coupling,
        budgets: Sequence[BoundBudget],
        best_within: BestWithin,
        error: Callable[[Sequence[Candidate]], float],
    ) -> None:
        self._candidates = candidates
        self._coupling = coupling
        self._budgets = budgets
        self._best_within = best_within
        self._error = error
        self._now = [each.original for each in candidates]

    def within(self, amounts: Sequence[int]) -> list[Candidate] | None:
        """Return the best choice that costs at most these amounts; None where none was seen.

        The search begins at the last choice of the search before.
        """
        best: list[Candidate] | None = None
        excess = [0] * len(amounts)
        for _ in range(_ROUNDS):
            sites = self._coupling.repriced(self._now)
            allowed = [
                amount - over for amount, over in zip(amounts, excess, strict=True)
            ]
            picked = self._best_within(sites, allowed)
            if picked is None and not any(excess):
                break
            if picked is None:
                # the prices are those of another choice now, which may need no less
                excess = [0] * len(amounts)
                continue
            before = self._now
            self._now = self._unpriced(picked)
            choice = self._coupling.settled(self._now)
            spent = self._spent(choice)
            over = [cost - amount for cost, amount in zip(spent, amounts, strict=True)]
            excess = [
                max(0, less + more) for less, more in zip(excess, over, strict=True)
            ]
            if max(over) > 0:
                continue
            if best is None or self._error(choice) < self._error(best):
                best = choice
            # a choice that its own prices lead to is the last one
            if self._now == before:
                break
        return best

    def _unpriced(self, picked: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates of a choice at the costs of their own."""
        candidates = []
        for site, candidate in zip(self._candidates, picked, strict=True):
            own = next(each for each in site.candidates if _are_alike(each, candidate))
            candidates.append(own)
        return candidates

    def _spent(self, choice: Sequence[Candidate]) -> list[int]:
        """Return what a choice costs of each budget; a model with paths has no branches."""
        sites = [each.site for each in self._candidates]
        return [budget.spent(sites, choice) for budget in self._budgets]


def _are_alike(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates are one at different costs."""
    return one.factorisation == other.factorisation and one.rank == other.rank
