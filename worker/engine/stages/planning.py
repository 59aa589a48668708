"""Plan: analyse the model, choose a candidate for every site, and factor the chosen sites."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from convpress.budgets import (
    ALLOW_INCOMPLETE,
    Budget,
    parse_budgets,
    require_consistent,
)
from convpress.formats import Format
from convpress.precision import AUTO, FLOAT, INT8
from convpress.refusal import Code, Refusal
from worker.engine.costs import table_file
from worker.engine.costs.table import CostTable
from worker.engine.model import CostProfile, OpenedModel
from worker.engine.numerics import memory
from worker.engine.phase_weights import BY_WEIGHTS
from worker.engine.progress import Progress
from worker.engine.request import Request
from worker.engine.selection.analysis import (
    NO_BUDGET,
    UNCHANGED,
    Analysis,
    analyse,
    unchanged_analysis,
)
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.candidates import Candidate
from worker.engine.selection.file_overhead import Finish, measure_file_overhead
from worker.engine.selection.input_statistics import Uncalibrated
from worker.engine.selection.int8_candidates import originals_in_int8
from worker.engine.selection.layout import arranged
from worker.engine.selection.narrowing import first_channels
from worker.engine.selection.objective import FixedRank, Goal, Objective, choose
from worker.engine.selection.replacements import (
    Replacements,
    factor,
    refit_replacements,
)
from worker.engine.selection.units import UNITS
from worker.engine.selection.unreachable import least_reaching
from worker.engine.stages.int8_plan import (
    Int8Plan,
    analysis_for_ranges,
    choose_with_int8,
    floats_of,
    int8_writer,
    plan_int8,
    with_inputs_for_ranges,
    write_without_content,
)

if TYPE_CHECKING:
    from worker.engine.calibration.refit.select_refit import RefitChoice

_IN_FLOAT_AFTER_ALL = (
    "no layer is in int8: in a file of this size, what int8 adds to it takes more than it saves, "
    "and low rank in float meets the budgets"
)
_FLOAT32_BYTES = 4
_MOST_OPERATORS = 5
"""The operators that a refusal names."""


@dataclass(frozen=True)
class Plan:
    """The choice for every site, and the layers of the factored ones.

    `analysis` has lost its moments: they are most of a job's memory, and factoring was their last
    use. `unchanged` says that the budgets allow the model as it is. `refit_choice` is None
    before the refit and without a calibration. `int8` says what is written in int8, None for an
    artifact in float. `note` says where that is not what the request asked to choose from.
    """

    goal: Goal
    analysis: Analysis
    choice: Sequence[Candidate]
    replacements: Replacements
    unchanged: bool
    refit_choice: "RefitChoice | None" = None
    int8: Int8Plan | None = None
    note: str | None = None

    def target(self, model_format: Format) -> Format | CostTable:
        """Return the cost table, which decides layouts, or without one the format."""
        return self.analysis.table or model_format


def plan(request: Request, opened: OpenedModel, progress: Progress) -> Plan:
    """Choose one candidate a site by the request's budgets or rank, and factor the sites.

    Raises:
        Refusal: the budgets, the calibration or the cost table cannot be used, or the budgets
            cannot be reached; `account_incomplete`.
    """
    budgets = _budgets(request)
    if not request.allow_incomplete_account:
        _require_complete_account(opened.profile, budgets)
    table = _cost_table(request, budgets)
    analysis = unchanged_analysis(
        opened.profile, table, NO_BUDGET if request.is_int8_alone else UNCHANGED
    )
    goal = _goal(request, opened, budgets, analysis)
    # a budget that allows the original spares the calibration
    is_whole = isinstance(goal, Objective) and goal.allows_original
    unchanged = is_whole and request.precision != INT8
    if not is_whole:
        analysis = analyse(request, opened, progress, table)
    elif request.precision == INT8:
        analysis = analysis_for_ranges(request, opened, progress, analysis)
    else:
        progress.weigh(BY_WEIGHTS)
    int8, note = None, None
    if request.precision != FLOAT and not unchanged:
        measured = analysis
        if not is_whole:
            measured = with_inputs_for_ranges(request, opened, progress, analysis)
        int8 = plan_int8(request, opened, measured)
    if unchanged:
        # the floats of a quantised model would not fit what its file does
        choice = analysis.originals
    elif int8 is not None and isinstance(goal, Objective) and not is_whole:
        goal, analysis, choice, note = _chosen_with_int8(
            request, opened, analysis, int8, goal
        )
    elif int8 is not None and is_whole:
        why_not = int8_writer(request.format).why_not
        choice = originals_in_int8(analysis, why_not)
    else:
        # with a rank everywhere, layers in int8 have all channels
        analysis = analysis if int8 is None else analysis.without_paths()
        choice = choose(analysis, goal)
        goal, choice = _fitted_to_file(request, opened, analysis, goal, choice)
    progress.enter("refining")

    def tell(share: float) -> None:
        # a refit tells of its own, and takes most of this phase
        if isinstance(analysis.calibration, Uncalibrated):
            progress.within(share, 1)

    replacements = factor(opened.model, analysis, choice, tell)
    # where all sites stay, or have one rank, all of them are in int8
    if int8 is not None and isinstance(goal, Objective) and not is_whole:
        is_float = not any(candidate.quantised for candidate in choice)
        int8 = None if is_float else int8.without(floats_of(analysis, choice))
    light = analysis.without_moments()
    return Plan(goal, light, choice, replacements, unchanged, int8=int8, note=note)


def _budgets(request: Request) -> Sequence[Budget]:
    """Return the budgets of a request; none with a rank, or in int8 alone.

    Raises:
        Refusal: `budget_missing`, `budget_invalid`.
    """
    if request.rank is not None or request.is_int8_alone:
        return ()
    return parse_budgets(request.budgets)


def refit(opened: OpenedModel, plan: Plan, progress: Progress) -> Plan:
    """Return a plan with its layers refitted on the calibration's inputs, if there are any.

    This is a stage of its own so that the moments, and then the layers before the refit, are freed.
    """
    memory.give_back()
    replacements, refit_choice = refit_replacements(
        opened.model,
        plan.analysis,
        plan.choice,
        plan.replacements,
        lambda part: progress.within(part, 1),
    )
    return replace(plan, replacements=replacements, refit_choice=refit_choice)


def _goal(
    request: Request, opened: OpenedModel, budgets: Sequence[Budget], analysis: Analysis
) -> Goal:
    at_any_price = request.flops_at_any_price
    if request.rank is not None:
        return FixedRank(request.form or "dac", request.rank, at_any_price)
    bound = [BoundBudget.of(budget, opened, analysis.candidates) for budget in budgets]
    objective = Objective(
        tuple(bound), at_any_price, int8_only=request.precision == INT8
    )
    # what int8 is worth, and a budget of time, are matters of time
    needs_times = request.precision != FLOAT or objective.bounds_time
    times_decide = request.costs_decide or needs_times
    return replace(
        objective,
        times_decide=times_decide,
        # where times decide, each single site becomes no slower
        keeps_time=not (times_decide or at_any_price),
    )


def _require_complete_account(profile: CostProfile, budgets: Sequence[Budget]) -> None:
    """Check that no budget is one of multiply-accumulates that are not all known.

    Raises:
        Refusal: `account_incomplete`.
    """
    counting = [
        budget for budget in budgets if UNITS[budget.kind.unit].needs_complete_account
    ]
    if not profile.unaccounted or not counting:
        return
    operators = [f"{each.operator} {each.name!r}" for each in profile.unaccounted]
    shown = ", ".join(operators[:_MOST_OPERATORS])
    if len(operators) > _MOST_OPERATORS:
        shown += f" and {len(operators) - _MOST_OPERATORS} more"
    first = profile.unaccounted[0]
    raise Refusal(
        Code.ACCOUNT_INCOMPLETE,
        f"the cost of {shown} is not known ({first.operator}: {first.reason}), so that a share "
        f"of the model's {counting[0].kind.quantity} cannot be kept; export the model without "
        f"{'this operator' if len(operators) == 1 else 'these operators'}, or set "
        f"{ALLOW_INCOMPLETE}=true, and the budget holds for the counted operators alone",
        field=ALLOW_INCOMPLETE,
        expected="a model whose operators with weights are all counted, or true",
        got=f"{len(operators)} operators that are not counted",
    )


def _cost_table(request: Request, budgets: Sequence[Budget]) -> CostTable | None:
    """Read the table that a request names.

    Raises:
        Refusal: `cost_table_invalid`; `cost_table_missing` where a budget needs one;
            `budget_invalid` for a budget of time together with FLOPs at any price.
    """
    # a table is read without a budget of time too: it keeps layers from becoming slower
    require_consistent(budgets, at_any_price=request.flops_at_any_price)
    if request.costs is not None:
        return table_file.read(Path(request.costs), request.format)
    timed = [budget for budget in budgets if UNITS[budget.kind.unit].counts_time]
    if not timed:
        return None
    raise Refusal(
        Code.COST_TABLE_MISSING,
        "this host has no cost table",
        field=timed[0].kind.field,
        expected="a host on which `convpress calibrate-host` has run, or a cost table from another "
        "device",
        got="none",
    )


def _chosen_with_int8(
    request: Request,
    opened: OpenedModel,
    analysis: Analysis,
    int8: Int8Plan,
    objective: Objective,
) -> tuple[Goal, Analysis, list[Candidate], str | None]:
    """Return the objective, the analysis and the choice with int8, and a note on it.

    In a small file scales and operators of int8 take more than the weights save. `auto` then
    chooses in float what it cannot choose with int8.

    Raises:
        Refusal: `budget_unreachable`, `cost_table_invalid`.
    """
    try:
        # layers in int8 are priced and tried one by one, with all channels
        priced, choice = choose_with_int8(
            request, opened, analysis.without_paths(), int8, objective
        )
        goal, choice = _fitted_to_file(request, opened, priced, objective, choice)
    except Refusal as refusal:
        if request.precision != AUTO or refusal.code != Code.BUDGET_UNREACHABLE:
            raise
        unreachable = refusal
    else:
        if request.precision != AUTO or not _is_widened(priced, choice):
            return goal, priced, choice, None
        # weights in float take more bytes there than without int8
        error = priced.predicted_error(choice)
        try:
            own_goal, floats = _chosen_in_float(request, opened, analysis, objective)
        except Refusal:
            return goal, priced, choice, None
        if analysis.predicted_error(floats) < error:
            return own_goal, analysis, floats, None
        return goal, priced, choice, None
    try:
        goal, choice = _chosen_in_float(request, opened, analysis, objective)
    except Refusal as refusal:
        raise least_reaching([unreachable, refusal]) from None
    return goal, analysis, choice, _IN_FLOAT_AFTER_ALL


def _chosen_in_float(
    request: Request, opened: OpenedModel, analysis: Analysis, objective: Objective
) -> tuple[Goal, list[Candidate]]:
    """Return the objective and the choice without int8.

    Raises:
        Refusal: `budget_unreachable`, `cost_table_invalid`.
    """
    choice = choose(analysis, objective)
    return _fitted_to_file(request, opened, analysis, objective, choice)


def _is_widened(analysis: Analysis, choice: Sequence[Candidate]) -> bool:
    """Whether a choice with int8 has sites of float16 in float, which are written in float32."""
    if not any(candidate.quantised for candidate in choice):
        return False
    pairs = zip(analysis.sites, choice, strict=True)
    return any(
        site.itemsize < _FLOAT32_BYTES and not candidate.quantised
        for site, candidate in pairs
    )


def _fitted_to_file(
    request: Request,
    opened: OpenedModel,
    analysis: Analysis,
    objective: Goal,
    choice: list[Candidate],
) -> tuple[Goal, list[Candidate]]:
    """Return a choice whose file fits, and the objective that it was chosen by.

    Raises:
        Refusal: `budget_unreachable`.
    """
    if not isinstance(objective, Objective) or not objective.needs_written_file:
        return objective, choice
    scratch = Path(request.output)
    arrange = partial(arranged, target=analysis.table or request.format)
    finish: Finish | None = None
    # the overhead of a choice depends on the choice: it rises until a file fits
    while True:
        if request.precision != FLOAT:
            finish = partial(
                write_without_content, request.format, floats_of(analysis, choice)
            )
        narrowings = first_channels(
            opened.profile.sites, analysis.paths.values(), choice
        )
        budgets = measure_file_overhead(
            opened, scratch, arrange, choice, objective.budgets, finish, narrowings
        )
        if budgets == objective.budgets:
            return objective, choice
        objective = replace(objective, budgets=budgets)
        choice = choose(analysis, objective)
