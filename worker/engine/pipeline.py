"""One compression from file to file: the engine's steps in the order in which they run."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from contract.budget import AT_ANY_PRICE, LATENCY_FIELD, Budget, LatencyBudget, choose_budget
from contract.refusal import Code, Refusal
from contract.shapes import parse_input_shape
from worker.engine import report
from worker.engine.analysis import Analysis, Unit, analyse, choose, factor, frontier, leave
from worker.engine.candidates import require_form
from worker.engine.costs import table as cost_table
from worker.engine.costs.table import CostTable
from worker.engine.flops import FLOPS_PER_MAC
from worker.engine.formats import Count, Model, TensorSpec, open_model, readable
from worker.engine.progress import Emit, Progress
from worker.engine.request import Request
from worker.engine.risk import assess
from worker.engine.samples import random_inputs
from worker.engine.verify import compare, measure

if TYPE_CHECKING:
    from worker.engine.calibration.calibrate import Calibration

_MOST_COMPARED = 64
_COMPARING_WORK = 200_000_000_000
"""Multiply-accumulates that the comparison of two models may take each, but for one run at least."""


def compress(request: Request, emit: Emit) -> None:
    """Compress the model that a request names, and write the artifact and the report to the paths it names.

    Raises:
        Refusal: the model, the budget or the input shape cannot be served.
    """
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
        _write(request.inspection, _describe(request, model) | _describe_costs(model, shapes, before))
    _require_convolutions(before)
    specs, parameters = model.inputs, model.parameters

    budget = None if request.rank is not None else choose_budget(request.flops_budget, request.latency_budget)
    unit: Unit = "nanoseconds" if isinstance(budget, LatencyBudget) else "macs"
    table = _cost_table(request, unit)
    analysis = leave(before, table)
    total = _total(analysis, unit)
    allowed = None if budget is None else budget.of(total)
    unchanged = allowed is not None and allowed >= total
    if not unchanged:
        analysis = analyse(request, model, shapes, before, progress, table)
    at_any_price = request.flops_at_any_price
    chosen = choose(analysis, allowed, unit, at_any_price=at_any_price)
    progress.enter("refining")
    chains, refinement = factor(model, analysis, chosen)

    progress.enter("rewriting")
    if not chains:
        shutil.copyfile(request.model, output)
    else:
        by_name = {site.name: site for site in before.sites}
        for done, (site, layers) in enumerate(chains.items()):
            model.replace(by_name[site], layers)
            progress.within(done, len(chains))
        model.save(output)
    sites = [report.describe_site(offer, candidate) for offer, candidate in zip(analysis.offers, chosen, strict=True)]
    accounts = {
        "predicted_error": analysis.predicted_error(chosen),
        "frontier": report.describe_frontier(frontier(analysis, unit, at_any_price=at_any_price), analysis),
        "calibration": report.describe_calibration(analysis.calibration, refinement),
        "latency": None if table is None else report.describe_latency(table, analysis, chosen),
    }
    calibrated, reused = not isinstance(analysis.calibration, str), analysis.reused
    inputs = _fresh_inputs(analysis.calibration, specs, shapes, before.macs)
    del model, analysis, chosen, chains, refinement  # the weights, before two models are loaded to be run

    progress.enter("verifying")
    artifact = open_model(request.format, output)
    after = artifact.count(shapes)
    _require_promised(sites, after, allowed if unit == "macs" else None)
    parameters_after = artifact.parameters
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
        "budget": _describe_budget(request, budget, allowed, unchanged),
        "before": cost(before.macs, parameters, Path(request.model).stat().st_size, original.latency_ms),
        "after": cost(after.macs, parameters_after, output.stat().st_size, compressed.latency_ms),
        "keep": after.macs / before.macs,
        "sites": sites,
        "uncounted": dict(sorted(before.uncounted.items())),
        **accounts,
        "verification": report.describe_comparison(comparison, len(inputs), calibrated=calibrated),
        "risk": asdict(assess(comparison, calibrated=calibrated, unchanged=unchanged)),
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
        account |= {"macs": None, "flops": None, "sites": [], "uncounted": {}, "missing": refusal.detail}
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


def _describe_costs(model: Model, shapes: Mapping[str, tuple[int, ...]], count: Count) -> dict[str, Any]:
    """Return what a model costs on inputs of certain shapes."""
    inputs = report.describe_inputs(model.inputs, shapes)
    return {**report.describe_count(count), "inputs": inputs, "missing": None}


def _write(path: str, account: dict[str, Any]) -> None:
    Path(path).write_text(json.dumps(account, indent=1, allow_nan=False))


def _require_convolutions(count: Count) -> None:
    if any(site.convolution is not None and site.convolution.kernel for site in count.sites):
        return
    operators = sorted({site.op for site in count.sites} | set(count.uncounted))
    raise Refusal(
        Code.NOTHING_TO_COMPRESS,
        "the model has no convolutions",
        field="model",
        expected="at least one convolution",
        got=", ".join(operators[:8]) or "no operators",
    )


def _require_promised(sites: Sequence[dict[str, Any]], after: Count, allowed: int | None) -> None:
    """The artifact, counted anew from its file, costs what its sites add up to, and fits the budget."""
    promised = sum(site["macs_after"] for site in sites)
    if after.macs != promised or (allowed is not None and after.macs > allowed):
        raise Refusal(
            Code.VERIFICATION_FAILED,
            "the compressed model does not cost what its layers add up to",
            expected=f"{promised} MACs" + ("" if allowed is None else f", at most {allowed}"),
            got=f"{after.macs} MACs",
        )


def _cost_table(request: Request, unit: Unit) -> CostTable | None:
    """Read the table that a request names.

    Raises:
        Refusal: `cost_table_invalid`; `cost_table_missing` where the budget needs one; `budget_invalid` where one that
            counts time is to be met at any price.
    """
    if unit == "nanoseconds" and request.flops_at_any_price:
        detail = f"{AT_ANY_PRICE} goes with a FLOPs budget"
        raise Refusal(Code.BUDGET_INVALID, detail, field=AT_ANY_PRICE, expected="false", got="true")
    if request.costs is not None:
        return cost_table.read(Path(request.costs), request.format)
    if unit == "macs":
        return None
    raise Refusal(
        Code.COST_TABLE_MISSING,
        "no cost table says how long layers take here",
        field=LATENCY_FIELD,
        expected="a host on which `convpress calibrate-host` has run, or a cost table from another device",
        got="none",
    )


def _total(analysis: Analysis, unit: Unit) -> int:
    """Return what the original costs in what a budget counts.

    Raises:
        Refusal: `cost_table_invalid` where none of its layers has a price.
    """
    if unit == "macs":
        return analysis.macs
    if not analysis.nanoseconds:
        raise Refusal(
            Code.COST_TABLE_INVALID,
            "none of the model's layers has a price in the cost table",
            field=LATENCY_FIELD,
            expected="layers of two spatial axes, or linear ones",
            got=f"{len(analysis.offers)} others",
        )
    return analysis.nanoseconds


def _describe_budget(
    request: Request, budget: Budget | LatencyBudget | None, allowed: int | None, unchanged: bool
) -> dict[str, Any]:
    if budget is None or allowed is None:
        return {"form": request.form or "dac", "rank": request.rank}
    note = "the budget allows the model as it is: it is returned unchanged" if unchanged else None
    if isinstance(budget, LatencyBudget):
        return {LATENCY_FIELD: budget.text, "milliseconds": allowed / 1e6, "note": note}
    return {
        "flops_budget": request.flops_budget,
        "macs": allowed,
        "flops": FLOPS_PER_MAC * allowed,
        "note": note,
    }


def _fresh_inputs(
    calibration: "Calibration | str", specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]], macs: int
) -> list[dict[str, NDArray[np.generic]]]:
    """Return inputs that nothing was fitted on: those of the calibration, or white noise where there is none."""
    if isinstance(calibration, str):
        return [random_inputs(specs, shapes)]
    most = max(1, min(_MOST_COMPARED, _COMPARING_WORK // max(macs, 1)))
    return calibration.fresh_inputs(specs, shapes, most)
