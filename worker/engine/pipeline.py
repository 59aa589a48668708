"""One compression from file to file: the engine's steps in the order in which they run."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convpress.budgets import LATENCY, Budget, Unit, parse_budgets, require_consistent
from convpress.refusal import Code, Refusal
from convpress.shapes import parse_input_shape
from worker.engine import report
from worker.engine.costs import table as cost_table
from worker.engine.costs.table import CostTable
from worker.engine.formats import open_model, readable
from worker.engine.model import CostProfile, Model, TensorSpec
from worker.engine.numerics import device, memory
from worker.engine.numerics.flops import FLOPS_PER_MAC
from worker.engine.numerics.random_inputs import random_inputs
from worker.engine.progress import Emit, Progress
from worker.engine.request import Request
from worker.engine.risk import assess
from worker.engine.selection.analysis import (
    Analysis,
    analyse,
    choose,
    factor,
    frontier,
    leave,
    refined,
)
from worker.engine.selection.candidates import Candidate, require_form
from worker.engine.selection.file_overhead import Arrange, tried
from worker.engine.selection.layout import arranged
from worker.engine.selection.units import Limit, amount_of, needs_trial
from worker.engine.verify import compare, measure

if TYPE_CHECKING:
    from worker.engine.calibration.calibrate import Calibration

_MOST_COMPARED = 64
_COMPARING_WORK = 200_000_000_000
"""Multiply-accumulates that the comparison of two models may take each, but for one run at least."""


def compress(request: Request, emit: Emit) -> None:
    """Compress the model that a request names, and write the artifact and the report to the paths it names.

    Raises:
        Refusal: the model, the budget or the input shape cannot be served, or the device is not there.
    """
    device.choose(request.device)
    with readable(request.format, Path(request.model)) as source:
        _compress(request, source, emit)


def _compress(request: Request, source: Path, emit: Emit) -> None:
    output = Path(request.output)
    progress = Progress(emit)
    progress.enter("loading")
    require_form(request.form, request.rank)
    model = open_model(request.format, source)
    shapes = model.bind(parse_input_shape(request.input_shape))
    before = model.count(shapes)
    if request.inspection is not None:
        _write(
            request.inspection, _describe(request, model) | _describe_costs(model, shapes, before)
        )
    _require_convolutions(before)
    specs, parameters = model.inputs, model.parameters

    budgets = () if request.rank is not None else parse_budgets(request.budgets)
    table = _cost_table(request, budgets)
    target = table or request.format
    analysis = leave(before, table)
    limits = None if not budgets else _limits(budgets, analysis, parameters, source)
    unchanged = limits is not None and all(limit.allows_all for limit in limits)
    if not unchanged:
        analysis = analyse(request, model, shapes, before, progress, table)
    at_any_price = request.flops_at_any_price
    chosen = choose(analysis, limits, at_any_price=at_any_price)
    if limits is not None and needs_trial(limits):
        arrange = partial(arranged, target=target)
        limits, chosen = _tried(request, source, shapes, arrange, analysis, limits, chosen)
    progress.enter("refining")
    chains = factor(model, analysis, chosen)
    analysis = analysis.without_moments()
    memory.give_back()
    chains, refinement = refined(model, analysis, chosen, chains)

    progress.enter("rewriting")
    if not chains:
        shutil.copyfile(request.model, output)
    else:
        by_name = {site.name: site for site in before.sites}
        for done, (name, layers) in enumerate(chains.items()):
            site = by_name[name]
            model.replace(site, *arranged(site, layers, target))
            progress.within(done, len(chains))
        model.save(output)
    sites = [
        report.describe_site(offer, candidate, target)
        for offer, candidate in zip(analysis.offers, chosen, strict=True)
    ]
    predicted = analysis.predicted_error(chosen)
    accounts = {
        "predicted_error": predicted,
        "frontier": report.describe_frontier(
            frontier(analysis, limits, at_any_price=at_any_price), analysis
        ),
        "calibration": report.describe_calibration(analysis.calibration, refinement),
    }
    latency = None if table is None else report.describe_latency(table, analysis, chosen)
    promised = analysis.spent(chosen)
    calibrated, reused = not isinstance(analysis.calibration, str), analysis.reused
    foreseen = predicted if analysis.weights else None
    inputs = _fresh_inputs(analysis.calibration, specs, shapes, before.macs)
    del (
        model,
        analysis,
        chosen,
        chains,
        refinement,
    )  # the weights, before two models are loaded to be run

    progress.enter("verifying")
    artifact = open_model(request.format, output)
    after = artifact.count(shapes)
    parameters_after = artifact.parameters
    counted: dict[Unit, int] = {
        "macs": after.macs,
        "parameters": parameters_after,
        "bytes": output.stat().st_size,
    }
    _require_promised(promised, counted, limits or ())
    del artifact
    original = measure(request.format, source, inputs)
    progress.within(1, 2)
    compressed = measure(request.format, output, inputs)
    comparison = compare(original.outputs, compressed.outputs)

    progress.enter("storing")
    cost = report.describe_cost
    account = {
        "format": request.format,
        "inputs": report.describe_inputs(specs, shapes),
        "convention": report.CONVENTION,
        "budget": _describe_budget(request, limits, unchanged),
        "before": cost(before, parameters, Path(request.model).stat().st_size, original.latency_ms),
        "after": cost(after, parameters_after, output.stat().st_size, compressed.latency_ms),
        "keep": after.macs / before.macs,
        "sites": sites,
        "uncounted": dict(sorted(before.uncounted.items())),
        **accounts,
        "latency": latency
        and latency | {"expected_after_ms": report.expected_ms(latency, original.latency_ms)},
        "verification": report.describe_comparison(comparison, len(inputs), calibrated=calibrated),
        "risk": asdict(assess(comparison, foreseen, calibrated=calibrated, unchanged=unchanged)),
        "engine": report.describe_engine(request.format, progress.seconds, reused=reused),
    }
    _write(request.report, account)


def inspect(request: Request, emit: Emit) -> None:
    """Write what a model is, and what it costs where its input shape is known, to the request's report path.

    Raises:
        Refusal: the model cannot be opened, or does not take the input shape that was given.
    """
    with readable(request.format, Path(request.model)) as source:
        _inspect(request, source, emit)


def _inspect(request: Request, source: Path, emit: Emit) -> None:
    progress = Progress(emit)
    progress.enter("loading")
    model = open_model(request.format, source)
    account = _describe(request, model)
    try:
        shapes = model.bind(parse_input_shape(request.input_shape))
    except Refusal as refusal:
        if refusal.code != Code.INPUT_SHAPE_REQUIRED:
            raise
        account |= {
            "macs": None,
            "flops": None,
            "sites": [],
            "uncounted": {},
            "missing": refusal.detail,
        }
    else:
        account |= _describe_costs(model, shapes, model.count(shapes))
    _write(request.report, account)


def _describe(request: Request, model: Model) -> dict[str, Any]:
    """Return what a model is, whatever it is given."""
    return {
        "format": request.format,
        "inputs": report.describe_tensors(model.inputs),
        "outputs": report.describe_tensors(model.outputs),
        "parameters": model.parameters,
        "bytes": Path(request.model).stat().st_size,
        "convention": report.CONVENTION,
    }


def _describe_costs(
    model: Model, shapes: Mapping[str, tuple[int, ...]], count: CostProfile
) -> dict[str, Any]:
    """Return what a model costs on inputs of certain shapes."""
    inputs = report.describe_inputs(model.inputs, shapes)
    described = report.describe_count(count)
    missing = _unsettled(count) or None
    if missing and not count.macs:
        described |= {"macs": None, "flops": None, "courses": []}
    return {**described, "inputs": inputs, "missing": missing}


def _unsettled(count: CostProfile) -> str:
    """Say which operators have a cost that is not known; nothing where there are none."""
    number = ", ".join(f"{kind} {number}" for kind, number in sorted(count.unsettled.items()))
    return number and (
        f"the cost of {number} is not known: they lie in loops of unknown length, in branches that do not fit these "
        "input shapes, or where no shape can be told"
    )


def _write(path: str, account: dict[str, Any]) -> None:
    Path(path).write_text(json.dumps(account, indent=1, allow_nan=False))


def _require_convolutions(count: CostProfile) -> None:
    if any(site.convolution is not None and site.convolution.kernel for site in count.sites):
        return
    operators = sorted({site.op for site in count.sites} | set(count.uncounted))
    unsettled = _unsettled(count)
    raise Refusal(
        Code.NOTHING_TO_COMPRESS,
        f"the model has no convolutions whose cost is known; {unsettled}"
        if unsettled
        else "the model has no convolutions",
        field="model",
        expected="at least one convolution",
        got=", ".join(operators[:8]) or "no operators",
    )


def _limits(
    budgets: Sequence[Budget], analysis: Analysis, parameters: int, source: Path
) -> list[Limit]:
    """Return what the budgets allow this model.

    Raises:
        Refusal: `cost_table_invalid` where time is counted and none of the layers has a price.
    """
    limits = []
    for budget in budgets:
        match budget.kind.unit:
            case "macs":
                total = analysis.macs
            case "nanoseconds":
                total = _time(analysis)
            case "parameters":
                total = parameters
            case "bytes":
                total = source.stat().st_size
        limits.append(Limit.of(budget, total))
    return limits


def _tried(
    request: Request,
    source: Path,
    shapes: Mapping[str, tuple[int, ...]],
    arrange: Arrange,
    analysis: Analysis,
    limits: list[Limit],
    chosen: list[Candidate],
) -> tuple[list[Limit], list[Candidate]]:
    """Return a choice whose file fits, and the limits by which it was chosen.

    Raises:
        Refusal: `budget_unreachable`.
    """
    while True:
        found = tried(
            request.format,
            source,
            Path(request.output),
            shapes,
            arrange,
            analysis.offers,
            chosen,
            limits,
        )
        if found == limits:
            return limits, chosen
        limits = found
        chosen = choose(analysis, limits, at_any_price=request.flops_at_any_price)


def _require_promised(promised: int, counted: Mapping[Unit, int], limits: Sequence[Limit]) -> None:
    """The artifact, counted anew from its file, costs what its sites add up to, and fits the budgets."""
    if counted["macs"] != promised:
        raise Refusal(
            Code.VERIFICATION_FAILED,
            "the compressed model does not cost what its layers add up to",
            expected=f"{promised} MACs",
            got=f"{counted['macs']} MACs",
        )
    for limit in limits:
        if counted.get(limit.unit, 0) > limit.allowed:
            raise Refusal(
                Code.VERIFICATION_FAILED,
                "the compressed model does not fit its budget",
                field=limit.budget.kind.field,
                expected=f"at most {amount_of(limit.unit, limit.allowed)}",
                got=amount_of(limit.unit, counted[limit.unit]),
            )


def _cost_table(request: Request, budgets: Sequence[Budget]) -> CostTable | None:
    """Read the table that a request names.

    Raises:
        Refusal: `cost_table_invalid`; `cost_table_missing` where a budget needs one; `budget_invalid` where one that
            counts time is to be met at any price.
    """
    require_consistent(budgets, at_any_price=request.flops_at_any_price)
    if request.costs is not None:
        return cost_table.read(Path(request.costs), request.format)
    if LATENCY not in [budget.kind for budget in budgets]:
        return None
    raise Refusal(
        Code.COST_TABLE_MISSING,
        "no cost table says how long layers take here",
        field=LATENCY.field,
        expected="a host on which `convpress calibrate-host` has run, or a cost table from another device",
        got="none",
    )


def _time(analysis: Analysis) -> int:
    """Return what the original's layers take by the cost table.

    Raises:
        Refusal: `cost_table_invalid` where none of them has a price.
    """
    if not analysis.nanoseconds:
        raise Refusal(
            Code.COST_TABLE_INVALID,
            "none of the model's layers has a price in the cost table",
            field=LATENCY.field,
            expected="layers of two spatial axes, or linear ones",
            got=f"{len(analysis.offers)} others",
        )
    return analysis.nanoseconds


def _describe_budget(
    request: Request, limits: Sequence[Limit] | None, unchanged: bool
) -> dict[str, Any]:
    if limits is None:
        return {"form": request.form or "dac", "rank": request.rank}
    account: dict[str, Any] = {}
    for limit in limits:
        account[limit.budget.kind.field] = limit.budget.text
        match limit.unit:
            case "macs":
                account |= {"macs": limit.allowed, "flops": FLOPS_PER_MAC * limit.allowed}
            case "nanoseconds":
                account["milliseconds"] = limit.allowed / 1e6
            case unit:
                account[unit] = limit.allowed
    note = "the budget allows the model as it is: it is returned unchanged" if unchanged else None
    return {**account, "note": note}


def _fresh_inputs(
    calibration: "Calibration | str",
    specs: Sequence[TensorSpec],
    shapes: Mapping[str, tuple[int, ...]],
    macs: int,
) -> list[dict[str, NDArray[np.generic]]]:
    """Return inputs that nothing was fitted on: those of the calibration, or white noise where there is none."""
    if isinstance(calibration, str):
        return [random_inputs(specs, shapes)]
    most = max(1, min(_MOST_COMPARED, _COMPARING_WORK // max(macs, 1)))
    return calibration.fresh_inputs(specs, shapes, most)
