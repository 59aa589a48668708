"""The rounds of a choice among sites that lose channels together."""

from types import SimpleNamespace

from worker.engine.selection.candidates import Candidate
from worker.engine.selection.channels.coupled_choice import CoupledChoice

WHOLE = Candidate(100, 0, 0.0)
DEAR = Candidate(60, 0, 0.1, rank=6)
CHEAP = Candidate(10, 0, 0.5, rank=1)


def test_a_round_far_beyond_the_budget_is_not_the_last():
    site = SimpleNamespace(site=None, original=WHOLE, candidates=(WHOLE, DEAR, CHEAP))
    coupling = SimpleNamespace(repriced=list, settled=list)
    budget = SimpleNamespace(spent=lambda _, choice: choice[0].macs)

    def best_within(now, amounts):
        if amounts[0] < CHEAP.macs:
            return None
        # by the prices of the whole model the dear one seems to be cheap
        return [DEAR] if now == [WHOLE] else [CHEAP]

    choice = CoupledChoice(
        [site], coupling, [budget], best_within, lambda one: one[0].error
    )
    assert choice.within([20]) == [CHEAP]
    assert choice.within([5]) is None
