"""The checks of one published model: its count, its outputs at full rank, its budget, its time."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from convpress.bundling import bundled
from convpress.formats import Format
from convpress.gate.identify import identify
from convpress.refusal import Refusal
from convpress.shapes import InputShapes, parse_input_shape
from worker.engine.decompose import Target
from worker.engine.formats import load_runner, open_model, readable
from worker.engine.model import CostProfile, Model, Runner, Shapes, Site, TensorSpec
from worker.engine.numerics.moments import unknown
from worker.engine.numerics.random_inputs import random_inputs
from worker.engine.pipeline import compress
from worker.engine.request import Request
from worker.engine.selection.enumeration import factorisations
from zoo import counters
from zoo.signature import signature

_MOST_WEIGHTS = 200_000
"""The most weights of a layer that is factored at full rank; larger ones replace themselves."""
_OTHER_BATCH = 3
_LARGEST_DIFFERENCE = 1e-3
"""At full rank, of the largest output, or three times what the runtime's own rounding makes."""
_RESOLUTION = 3e-7
"""Smaller differences are rounding: a sigmoid near 0 gives its numbers to as much."""


@dataclass(frozen=True)
class Case:
    """A file to check. `shape` is an input shape as jobs take it.

    `arguments` are the types and sizes of the inputs in order, in place of a shape. `macs` is what
    torch counted for the module that the file was exported from.
    """

    name: str
    path: Path
    shape: str | None = None
    arguments: Sequence[str] = ()
    macs: int | None = None


def checked(case: Case, budget: str, calibration: str, folder: Path) -> dict[str, Any]:
    """Return the row of a model: the figures, and `wrong`, the sentences on what is wrong."""
    row: dict[str, Any] = {"model": case.name}
    started = time.process_time()
    model_format = identify(case.path)
    with bundled(case.path) as file, readable(model_format, file) as source:
        try:
            model = open_model(model_format, source)
            shape = case.shape or input_shape_of(model, case.arguments)
            row |= _at_full_rank(case, model, model_format, source, shape, folder)
        except Refusal as refusal:
            return row | {"refused": f"{refusal.code}: {refusal.detail}", "wrong": []}
        row["seconds"] = round(time.process_time() - started, 1)
    row |= _at_budget(case, shape, budget, calibration, folder)
    row["wrong"] = broken_promises(row, budget)
    return row


def input_shape_of(model: Model, arguments: Sequence[str]) -> str | None:
    """Return the input shape of a model that takes these arguments in order."""
    if not arguments:
        return None
    if len(model.inputs) == 1 and arguments[0].startswith("float32:"):
        return arguments[0].removeprefix("float32:")
    pairs = zip(model.inputs, arguments, strict=True)
    return ",".join(f"{spec.name}={argument}" for spec, argument in pairs)


def _at_full_rank(
    case: Case,
    model: Model,
    model_format: Format,
    source: Path,
    shape: str | None,
    folder: Path,
) -> dict[str, Any]:
    """Rewrite a model at full rank, and compare it with the original."""
    shapes = model.bind(parse_input_shape(shape))
    started = time.process_time()
    profile = model.count(shapes)
    count_seconds = time.process_time() - started
    specs = model.inputs
    inputs = random_inputs(specs, shapes)
    row = _account(profile) | {"count_seconds": round(count_seconds, 2), "shape": shape}
    row |= {
        "exported_macs": case.macs,
        "oracle_macs": _counted(model_format, case.path, inputs),
    }
    target = folder / f"full{case.path.suffix}"
    row["replaced"] = sum(_replace(model, site) for site in profile.sites)
    model.save(target)
    row["signature"] = signature(case.path) == signature(target)
    run, run_full = load_runner(model_format, source), load_runner(model_format, target)
    expected = run(inputs)
    row["difference"] = _apart(expected, run_full(inputs))
    row["rounding"] = _rounding(model_format, source, inputs, expected)
    row["is_finite"] = all(
        bool(np.isfinite(_float64(each)).all()) for each in expected.values()
    )
    row["is_zero"] = not any(bool(each.any()) for each in expected.values())
    row["other_batch"] = _other_batch(specs, shapes, run, run_full)
    return row


def _account(profile: CostProfile) -> dict[str, Any]:
    return {
        "macs": profile.macs,
        "paths": len(profile.execution_paths),
        "sites": len(profile.sites),
        "reasons": Counter(site.reason for site in profile.sites if site.reason),
        "reason_macs": _macs_by_reason(profile.sites),
        "unsettled": dict(profile.unsettled),
        "unaccounted": [
            f"{each.operator}: {each.reason}" for each in profile.unaccounted
        ],
    }


def _macs_by_reason(sites: Sequence[Site]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for site in sites:
        if site.reason:
            totals[site.reason] += site.macs
    return dict(totals)


def _counted(
    model_format: Format, path: Path, inputs: Mapping[str, NDArray[np.generic]]
) -> int | None:
    """Return the count of an independent counter; None where it cannot run the model."""
    count = {
        "onnx": counters.onnx_macs,
        "torchscript": counters.torchscript_macs,
        "pt2": counters.pt2_macs,
    }[model_format]
    try:
        return count(path, inputs)
    except Exception:
        return None


def _replace(model: Model, site: Site) -> bool:
    """Replace a site by its first form at full rank, where one applies."""
    if site.reason is not None or site.convolution is None:
        return False
    form = next(iter(factorisations(site)), None)
    if form is None:
        return False
    layer = model.layer(site)
    if prod(site.weight_shape) > _MOST_WEIGHTS:
        model.replace(site, [layer])
        return True
    target = Target.of(layer, unknown(site.convolution))
    model.replace(site, form.layers(target, form.ranks[-1]))
    return True


def _apart(
    expected: Mapping[str, NDArray[np.generic]],
    actual: Mapping[str, NDArray[np.generic]],
) -> float | None:
    """Return the largest difference of all outputs, of the largest value; None if not comparable.

    Sizes that depend on values are not compared, and neither is rounding.
    """
    differences = [0.0]
    for name, one in expected.items():
        if actual[name].shape != one.shape:
            return None
        exact = _float64(one)
        finite = np.isfinite(exact)
        apart = np.abs(_float64(actual[name]) - exact)[finite]
        largest = np.abs(exact[finite]).max(initial=0)
        difference = float(apart.max(initial=0))
        if difference > _RESOLUTION:
            differences.append(difference / float(largest or 1))
    return max(differences)


def _float64(array: NDArray[np.generic]) -> NDArray[np.float64]:
    return array.astype(np.float64)


def _rounding(
    model_format: Format,
    path: Path,
    inputs: Mapping[str, NDArray[np.generic]],
    expected: Mapping[str, NDArray[np.generic]],
) -> float | None:
    """Return the difference that ONNX Runtime's own optimisation makes to the original.

    None for other formats, for bundles, and for outputs that are no tensors.
    """
    if model_format != "onnx" or path.suffix != ".onnx":
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    # Sequences are several arrays to the product, and one output to the runtime.
    if [output.name for output in session.get_outputs()] != list(expected):
        return None
    outputs = session.run(list(expected), dict(inputs))
    return _apart(expected, dict(zip(expected, outputs, strict=True)))


def _other_batch(
    specs: Sequence[TensorSpec], shapes: Shapes, run: Runner, run_full: Runner
) -> float | str | None:
    """Return the difference of both models on another batch; None where the original takes none."""
    if not all(shapes.values()) or not all(_is_open(spec) for spec in specs):
        return None
    larger: dict[str, tuple[int, ...]] = {
        name: (_OTHER_BATCH * shape[0], *shape[1:]) for name, shape in shapes.items()
    }
    inputs = random_inputs(specs, larger)
    try:
        expected = run(inputs)
    except Refusal:
        return None
    try:
        actual = run_full(inputs)
    except Refusal as refusal:
        return (
            f"the artifact does not run on a batch of {_OTHER_BATCH}: {refusal.detail}"
        )
    return _apart(expected, actual)


def _is_open(spec: TensorSpec) -> bool:
    """Whether an input takes any number of samples, as far as the model says."""
    return spec.shape is None or (
        bool(spec.shape) and not isinstance(spec.shape[0], int)
    )


def _at_budget(
    case: Case, shape: str | None, budget: str, calibration: str, folder: Path
) -> dict[str, Any]:
    """Compress a model, and return what is kept and the outputs' error, or the refusal."""
    report = folder / "report.json"
    target = folder / f"out{case.path.suffix}"
    started = time.process_time()
    with bundled(case.path) as source:
        request = Request(
            str(source),
            identify(source),
            str(target),
            str(report),
            {"flops_budget": budget},
            input_shape=shape,
            calibration=calibration,
        )
        try:
            compress(request, lambda *_: None)
        except Refusal as refusal:
            return {"refused": f"{refusal.code}: {refusal.detail}"}
    account = json.loads(report.read_text())
    model = open_model(request.format, target)
    with suppress(Refusal):
        shapes: InputShapes | None = parse_input_shape(shape)
        inputs = random_inputs(model.inputs, model.bind(shapes))
        kept = _counted(request.format, target, inputs)
    return {
        "keep": account["keep"],
        "oracle_kept": kept,
        "error": account["verification"]["relative_error"],
        "signature_at_budget": signature(case.path) == signature(target),
        "compress_seconds": round(time.process_time() - started, 1),
    }


def broken_promises(row: Mapping[str, Any], budget: str) -> list[str]:
    """Return a sentence for each promise that the row of a model breaks."""
    sentences = []
    counts = {row["oracle_macs"], row["exported_macs"]} - {None}
    is_complete = not row["unaccounted"] and not row["unsettled"]
    if is_complete and counts and row["macs"] not in counts:
        sentences.append(f"counts {row['macs']} MACs, others {sorted(counts)}")
    largest = max(_LARGEST_DIFFERENCE, 3 * (row["rounding"] or 0))
    if row["difference"] is not None and not row["difference"] <= largest:
        sentences.append(f"differs by {row['difference']:.1e} at full rank")
    other = row["other_batch"]
    if isinstance(other, str):
        sentences.append(other)
    elif other is not None and not other <= largest:
        sentences.append(f"differs by {other:.1e} on another batch")
    if not row["signature"] or not row.get("signature_at_budget", True):
        sentences.append("the inputs and outputs are declared otherwise")
    if str(row.get("refused", "")).startswith("verification_failed"):
        sentences.append(row["refused"])
    kept = row.get("oracle_kept")
    if (
        kept is not None
        and row["macs"] in counts
        and kept > float(budget) * row["macs"]
    ):
        sentences.append(f"keeps {kept} of {row['macs']} MACs by another counter")
    return sentences
