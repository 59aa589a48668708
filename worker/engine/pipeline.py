"""One compression from file to file: the engine's steps in the order in which they run."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from contract.budget import parse_budget
from contract.refusal import Code, Refusal
from contract.shapes import parse_input_shape
from worker.engine import report
from worker.engine.analysis import analyse, choose, factor, frontier, leave
from worker.engine.candidates import require_form
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

    allowed = None if request.rank is not None else parse_budget(request.flops_budget).of(before.macs)
    unchanged = allowed is not None and allowed >= before.macs
    analysis = leave(before) if unchanged else analyse(request, model, shapes, before, progress)
    chosen = choose(analysis, allowed)
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
        "frontier": report.describe_frontier(frontier(analysis), before.macs),
        "calibration": report.describe_calibration(analysis.calibration, refinement),
    }
    calibrated, reused = not isinstance(analysis.calibration, str), analysis.reused
    inputs = _fresh_inputs(analysis.calibration, specs, shapes, before.macs)
    del model, analysis, chosen, chains, refinement  # the weights, before two models are loaded to be run

    progress.enter("verifying")
    artifact = open_model(request.format, output)
    after = artifact.count(shapes)
    _require_promised(sites, after, allowed)
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
        "budget": _describe_budget(request, allowed, unchanged),
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


def _describe_budget(request: Request, allowed: int | None, unchanged: bool) -> dict[str, Any]:
    if allowed is None:
        return {"form": request.form or "dac", "rank": request.rank}
    note = "the budget allows the model as it is: it is returned unchanged" if unchanged else None
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
