"""Open: read the model, bind the shapes of its inputs, and count its costs."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from convpress.gate import bundle
from convpress.limits import Limits
from convpress.precision import FIELD, FLOAT, require_onnx, require_ranges
from convpress.refusal import Code, Refusal
from convpress.shapes import parse_input_shape
from worker.engine import inspection
from worker.engine.formats import open_model
from worker.engine.model import (
    INTEGERS,
    QUANTISED,
    CostProfile,
    Model,
    OpenedModel,
    advice_on_quantised,
)
from worker.engine.progress import Progress
from worker.engine.report import file
from worker.engine.request import Request
from worker.engine.selection.enumeration import require_form
from worker.engine.stages.dequantising import FloatFile, in_float

_MOST_OPERATORS = 8
"""The operators that a refusal names."""

_NEVER_RUNS = "it does not run on inputs of these shapes"


def open_for_compression(
    request: Request, source: Path, floats: FloatFile, progress: Progress
) -> OpenedModel:
    """Open the model at `source`, and write its inspection where the request asks for it.

    `floats` is the same model in floats.

    Raises:
        Refusal: the model cannot be opened, does not take the input shape, or has no layer that can
            be factored.
    """
    progress.enter("loading")
    require_form(request.form, request.rank)
    require_onnx(request.precision, request.format)
    require_ranges(request.precision, request.calibration)
    _require_one_file(request, source)
    opened = _opened(request, source, floats)
    _require_listable(opened.profile, request.limits)
    # the inspection is of use even where the compression is refused
    if request.inspection is not None:
        file.write(request.inspection, inspection.with_costs(request, opened))
    _require_layers(opened.profile, int8_alone=request.is_int8_alone)
    return opened


def _require_one_file(request: Request, source: Path) -> None:
    """Check that an artifact in int8 is one file.

    Raises:
        Refusal: `precision_invalid`.
    """
    if request.precision == FLOAT or bundle.read(source) is None:
        return
    # the command line packs a model and its weights, and writes one file
    if Path(request.output).suffix != source.suffix:
        return
    raise Refusal(
        Code.PRECISION_INVALID,
        "int8 is not written for models in several files",
        field=FIELD,
        expected="float, or a model with its weights inside",
        got=f"{request.precision} for a bundle of files",
    )


def inspect_file(request: Request, source: Path, progress: Progress) -> None:
    """Write the inspection of the model at `source`, with costs where its shapes are known.

    Raises:
        Refusal: the model cannot be opened, or does not take the input shape.
    """
    progress.enter("loading")
    with in_float(request, source) as floats:
        try:
            opened = _opened(request, source, floats)
        except Refusal as refusal:
            if refusal.code != Code.INPUT_SHAPE_REQUIRED:
                raise
            model = open_model(request.format, source)
            members = inspection.without_costs(request, model, refusal, floats.restored)
        else:
            _require_listable(opened.profile, request.limits)
            members = inspection.with_costs(request, opened)
    file.write(request.report, members)


def _opened(request: Request, source: Path, floats: FloatFile) -> OpenedModel:
    """Return the model at `source`, opened from its floats and bound to its shapes.

    Raises:
        Refusal: the model cannot be opened, or does not take the input shape.
    """
    opened = bound(request, floats.path, open_model(request.format, floats.path))
    if floats.restored is None:
        return opened
    posted = bound(request, source, open_model(request.format, source))
    return replace(opened, posted=posted, restored=floats.restored)


def bound(request: Request, source: Path, model: Model) -> OpenedModel:
    """Return a model bound to the shapes of its inputs.

    Raises:
        Refusal: the model does not take the input shape, or has too many inputs or outputs.
    """
    _require_few("inputs", len(model.inputs), request.limits)
    _require_few("outputs", len(model.outputs), request.limits)
    stated = parse_input_shape(request.input_shape)
    shapes = model.bind(stated)
    return OpenedModel(request.format, source, model, shapes)


def _require_listable(profile: CostProfile, limits: Limits | None) -> None:
    """Check that a report can list the model's operators.

    Raises:
        Refusal: `model_over_limit`.
    """
    _require_few("layers", len(profile.sites), limits)
    _require_few("operators of unknown cost", len(profile.unaccounted), limits)


def _require_few(what: str, number: int, limits: Limits | None) -> None:
    """Check that a report can list the model's parts, or its readers would not accept it.

    Raises:
        Refusal: `model_over_limit`.
    """
    if limits is not None and number > limits.sites:
        raise Refusal(
            Code.MODEL_OVER_LIMIT,
            f"the model has more {what} than a report lists",
            field="model",
            expected=f"at most {limits.sites} {what}, half of the limit nodes",
            got=f"{number} {what}",
        )


def _require_layers(profile: CostProfile, *, int8_alone: bool) -> None:
    """Check that there is a layer with weights that can be factored.

    In int8 alone one whose weights are floats will do: nothing is factored, and the writer of int8
    refuses a model that has no layer for it.

    Raises:
        Refusal: `nothing_to_compress`, with the reasons of the layers that there are.
    """
    layers = [site for site in profile.sites if site.weight_shape]
    # nothing can be a share of nothing
    runs = profile.macs > 0
    if runs and any(site.reason is None for site in layers):
        return
    reasons_of_integers = (QUANTISED, INTEGERS)
    has_floats = any(site.reason not in reasons_of_integers for site in layers)
    if runs and int8_alone and has_floats:
        return
    detail = "the model has no layers with weights"
    if layers:
        detail = "no layer of the model can be factored"
    # the operators on tables of ai.onnx.ml have weights, but no tensor that holds them
    counts = Counter(site.reason or _NEVER_RUNS for site in layers or profile.sites)
    if counts:
        reasons = [
            f"{reason} ({_layers(count)})" for reason, count in counts.most_common()
        ]
        detail += f": {'; '.join(reasons)}"
    detail += advice_on_quantised([site.reason for site in layers])
    unsettled = inspection.unsettled(profile)
    if unsettled is not None:
        detail += f"; {unsettled}"
    operators = sorted({site.op for site in profile.sites} | set(profile.uncounted))
    raise Refusal(
        Code.NOTHING_TO_COMPRESS,
        detail,
        field="model",
        expected="at least one convolution or linear layer with weights of floating point",
        got=", ".join(operators[:_MOST_OPERATORS]) or "no operators",
    )


def _layers(count: int) -> str:
    if count == 1:
        return "1 layer"
    return f"{count} layers"
