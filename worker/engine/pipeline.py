"""One compression from file to file: the engine's steps in the order in which they run."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from contract.budget import parse_budget
from contract.calibration import parse_calibration, parse_input_values
from contract.refusal import Code, Refusal
from contract.shapes import parse_input_shape
from worker.engine import report
from worker.engine.allocate import BudgetUnreachableError, Option, allocate
from worker.engine.candidates import ORIGINAL, Candidate, Offer, offer_all, offer_rank, original_only, require_form
from worker.engine.convolution import Layer
from worker.engine.flops import FLOPS_PER_MAC
from worker.engine.formats import Count, Model, Site, TensorSpec, open_model
from worker.engine.moments import Moments
from worker.engine.progress import Emit, Progress
from worker.engine.request import Request
from worker.engine.samples import random_inputs
from worker.engine.verify import compare, measure

if TYPE_CHECKING:
    from worker.engine.calibration.calibrate import Calibration
    from worker.engine.calibration.refine import Refinement


_MOST_COMPARED = 64
_COMPARING_WORK = 200_000_000_000
"""Multiply-accumulates that the comparison of two models may take each, but for one run at least."""


def compress(request: Request, emit: Emit) -> None:
    """Compress the model that a request names, and write the artifact and the report to the paths it names.

    Raises:
        Refusal: the model, the budget or the input shape cannot be served.
    """
    source, output = Path(request.model), Path(request.output)
    progress = Progress(emit)
    progress.enter("loading")
    require_form(request.form, request.rank)
    model = open_model(request.format, source)
    shapes = model.bind(parse_input_shape(request.input_shape))
    before = model.count(shapes)
    _require_convolutions(before)
    specs, parameters = model.inputs, model.parameters

    allowed = None if request.rank is not None else parse_budget(request.flops_budget).of(before.macs)
    unchanged = allowed is not None and allowed >= before.macs
    progress.enter("measuring")
    calibration = "the budget allows the model as it is" if unchanged else _calibrate(request, model, shapes, before)
    progress.enter("factoring")
    offers = _offer(request, model, before, unchanged, calibration, progress)
    progress.enter("allocating")
    weights = _sensitivities(model, offers, calibration)
    chosen = _allocate(offers, weights, allowed)
    progress.enter("refining")
    chains, refinement = _refine(model, offers, chosen, calibration)

    progress.enter("rewriting")
    if not chains:
        shutil.copyfile(source, output)
    else:
        for done, (site, layers) in enumerate(chains.items()):
            model.replace(next(offer.site for offer in offers if offer.site.name == site), layers)
            progress.within(done, len(chains))
        model.save(output)
    sites = [report.describe_site(offer, candidate) for offer, candidate in zip(offers, chosen, strict=True)]
    del model, offers, chosen  # the weights, before two models are loaded to be run

    progress.enter("verifying")
    artifact = open_model(request.format, output)
    after = artifact.count(shapes)
    _require_promised(sites, after, allowed)
    parameters_after = artifact.parameters
    del artifact
    inputs = _fresh_inputs(calibration, specs, shapes, before.macs)
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
        "before": cost(before.macs, parameters, source.stat().st_size, original.latency_ms),
        "after": cost(after.macs, parameters_after, output.stat().st_size, compressed.latency_ms),
        "keep": after.macs / before.macs,
        "sites": sites,
        "uncounted": dict(sorted(before.uncounted.items())),
        "calibration": _describe_calibration(calibration, refinement),
        "verification": report.describe_comparison(
            comparison, len(inputs), calibration if isinstance(calibration, str) else None
        ),
        "engine": report.describe_engine(request.format, progress.seconds),
    }
    Path(request.report).write_text(json.dumps(account, indent=1, allow_nan=False))


def inspect(request: Request, emit: Emit) -> None:
    """Write what a model is, and what it costs where its input shape is known, to the request's report path.

    Raises:
        Refusal: the model cannot be opened, or does not take the input shape that was given.
    """
    progress = Progress(emit)
    progress.enter("loading")
    model = open_model(request.format, Path(request.model))
    account: dict[str, Any] = {
        "format": request.format,
        "inputs": report.describe_tensors(model.inputs),
        "outputs": report.describe_tensors(model.outputs),
        "parameters": model.parameters,
        "bytes": Path(request.model).stat().st_size,
        "convention": report.CONVENTION,
    }
    try:
        shapes = model.bind(parse_input_shape(request.input_shape))
    except Refusal as refusal:
        if refusal.code != Code.INPUT_SHAPE_REQUIRED:
            raise
        account |= {"macs": None, "flops": None, "sites": [], "uncounted": {}, "missing": refusal.detail}
    else:
        account |= report.describe_count(model.count(shapes))
        account |= {"inputs": report.describe_inputs(model.inputs, shapes), "missing": None}
    Path(request.report).write_text(json.dumps(account, indent=1, allow_nan=False))


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


def _calibrate(
    request: Request, model: Model, shapes: Mapping[str, tuple[int, ...]], count: Count
) -> "Calibration | str":
    """Calibrate as the request says; return in words why not, where that is not asked for or not possible."""
    kind = parse_calibration(request.calibration)
    told = parse_input_values(request.input_range, request.input_mean, request.input_std)
    if kind == "none":
        return "none was asked for"
    # torch, which takes a second to import, is needed for this alone where the model is ONNX
    from worker.engine.calibration.calibrate import WeakCalibrationError, calibrate

    convolutions = {
        site.name: site.convolution
        for site in count.sites
        if site.reason is None and site.convolution is not None and not site.convolution.transposed
    }
    try:
        return calibrate(model, shapes, convolutions, count.macs, told, None)
    except WeakCalibrationError as error:
        return str(error)


def _moments(calibration: "Calibration | str", site: Site) -> Moments | None:
    return None if isinstance(calibration, str) else calibration.observation.moments.get(site.name)


def _offer(
    request: Request, model: Model, count: Count, unchanged: bool, calibration: "Calibration | str", progress: Progress
) -> list[Offer]:
    offers = []
    for done, site in enumerate(count.sites):
        progress.within(done, len(count.sites))
        if unchanged:
            offers.append(original_only(site, "the budget allows the model as it is"))
        elif request.rank is not None:
            offers.append(offer_rank(model, site, request.form or "dac", request.rank, _moments(calibration, site)))
        else:
            offers.append(offer_all(model, site, request.form, _moments(calibration, site)))
    return offers


def _sensitivities(model: Model, offers: Sequence[Offer], calibration: "Calibration | str") -> Mapping[str, float]:
    """Return what share of a site's error arrives at the outputs; nothing where the model was not calibrated."""
    if isinstance(calibration, str):
        return {}
    from worker.engine.calibration.sensitivity import sensitivities, trials

    tried = {
        offer.site.name: trials(offer, model.layer(offer.site), _moments(calibration, offer.site))
        for offer in offers
        if len(offer.candidates) > 1
    }
    return sensitivities(calibration, tried)


def _allocate(offers: Sequence[Offer], weights: Mapping[str, float], allowed: int | None) -> list[Candidate]:
    if allowed is None:  # one rank everywhere: each offer has the original and that rank at most
        return [offer.candidates[-1] for offer in offers]
    options = [
        [Option(candidate.macs, candidate.error * weights.get(offer.site.name, 1.0)) for candidate in offer.candidates]
        for offer in offers
    ]
    total = sum(offer.site.macs for offer in offers)
    try:
        choices = allocate(options, allowed)
    except BudgetUnreachableError as error:
        raise Refusal(
            Code.BUDGET_UNREACHABLE,
            f"the least that this model can be brought to is {error.least / total:.4f} of its FLOPs",
            field="flops_budget",
            expected=f"at least {error.least / total:.4f}, or {FLOPS_PER_MAC * error.least} FLOPs",
            got=f"{allowed / total:.4f}, or {FLOPS_PER_MAC * allowed} FLOPs",
        ) from error
    return [offer.candidates[choice] for offer, choice in zip(offers, choices, strict=True)]


def _refine(
    model: Model, offers: Sequence[Offer], chosen: Sequence[Candidate], calibration: "Calibration | str"
) -> tuple[Mapping[str, tuple[Layer, ...]], "Refinement | None"]:
    """Return the layers that take each factored site's place, and how they were refined where they were."""
    chains = {
        offer.site.name: candidate.layers(model.layer(offer.site), _moments(calibration, offer.site))
        for offer, candidate in zip(offers, chosen, strict=True)
        if candidate.form != ORIGINAL
    }
    if isinstance(calibration, str) or not chains:
        return chains, None
    from worker.engine.calibration.refine import refine

    refinement = refine(calibration, chains)
    return refinement.chains, refinement


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


def _describe_calibration(calibration: "Calibration | str", refinement: "Refinement | None") -> dict[str, Any]:
    if isinstance(calibration, str):
        return {"kind": "none", "reason": calibration}
    refined = (
        {}
        if refinement is None
        else {
            "refitted": refinement.refitted,
            "held_out_error": {"closed_form": refinement.error_before, "refitted": refinement.error_after},
        }
    )
    return {**calibration.account, **refined}
