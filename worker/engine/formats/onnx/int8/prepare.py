"""A float model made ready for int8: nodes named, normalisation folded, shapes inferred."""

from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort
from onnx import ModelProto, shape_inference, version_converter

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.graph import all_nodes, own_opset
from worker.engine.formats.onnx.int8.layers import (
    QuantisableLayer,
    node_sites,
    quantisable_layers,
)
from worker.engine.formats.onnx.int8.plain_gemms import make_gemms_plain
from worker.engine.formats.onnx.int8.widen import bytes_of_halves, widen
from worker.engine.formats.onnx.runtime.session import RUNTIME_ERRORS, refused
from worker.engine.formats.onnx.runtime.session_options import session_options

_LEAST_OPSET = 13
"""The first version in which a scale for each channel can be written."""

LARGEST_BYTES = 2**31 - 2**20
"""Protocol buffers hold no larger model, and the quantiser reads it whole."""


@dataclass(frozen=True)
class Prepared:
    """A model that the quantiser can read, and its layers that int8 applies to."""

    model: ModelProto
    layers: tuple[QuantisableLayer, ...]


def prepare(source: Path, scratch: Path) -> Prepared:
    """Prepare the model at `source`; `scratch` is written and deleted.

    Every node of the main graph has a name of its own, which the optimisation keeps. ONNX Runtime
    folds normalisation into the layers before it: between the two, an int8 layer would gain
    nothing.

    Raises:
        Refusal: `model_unsupported` where the model is too large, or its operators cannot be
            written in a version that has int8; `model_invalid` where ONNX Runtime refuses it.
    """
    _require_small(source.stat().st_size)
    model = onnx.load(source)
    # in float32 weights of float16 take twice the bytes
    _require_small(source.stat().st_size + bytes_of_halves(model))
    model = _with_opset(model)
    widen(model)
    sites = _named(model)
    settings = session_options()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(scratch)
    try:
        ort.InferenceSession(
            model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
        optimised = onnx.load(scratch)
    except RUNTIME_ERRORS as error:
        raise refused("load", error) from error
    finally:
        scratch.unlink(missing_ok=True)
    _drop_unused_domains(optimised)
    make_gemms_plain(optimised)
    inferred = shape_inference.infer_shapes(optimised)
    return Prepared(inferred, tuple(quantisable_layers(inferred, sites)))


def _require_small(size: int) -> None:
    """Check that a model of this size can be written.

    Raises:
        Refusal: `model_unsupported`.
    """
    if size > LARGEST_BYTES:
        raise Refusal(
            Code.MODEL_UNSUPPORTED,
            "the model is too large for int8",
            field=FIELD,
            expected=f"a file of at most {LARGEST_BYTES} bytes with weights of float32",
            got=f"{size} bytes",
        )


def _with_opset(model: ModelProto) -> ModelProto:
    """Return the model in a version of ONNX that has int8.

    Raises:
        Refusal: `model_unsupported`.
    """
    version = own_opset(model)
    if version >= _LEAST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, _LEAST_OPSET)
    # the converter has no exceptions of its own
    except (RuntimeError, ValueError) as error:
        raise Refusal(
            Code.MODEL_UNSUPPORTED,
            "the model is written in a version of ONNX without int8, and cannot be converted: "
            "export it anew",
            field=FIELD,
            expected=f"opset {_LEAST_OPSET} or later",
            got=f"opset {version}",
        ) from error


def _named(model: ModelProto) -> dict[str, str]:
    """Give every node of the main graph a name that no other has; return the sites by these."""
    used: set[str] = set()
    by_name: dict[str, str] = {}
    sites = node_sites(model)
    pairs = zip(model.graph.node, sites, strict=True)
    for position, (node, site) in enumerate(pairs):
        name = node.name or f"{node.op_type}_{position}"
        while name in used:
            name = f"{name}_{position}"
        used.add(name)
        node.name = name
        if site is not None:
            by_name[name] = site
    return by_name


def _drop_unused_domains(model: ModelProto) -> None:
    """Remove the domains that the optimiser declares whether or not an operator is of them."""
    used = {node.domain for node in all_nodes(model.graph.node)}
    kept = [
        entry
        for entry in model.opset_import
        if entry.domain in used or not entry.domain
    ]
    del model.opset_import[:]
    model.opset_import.extend(kept)
