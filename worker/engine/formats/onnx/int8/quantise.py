"""A model written with QuantizeLinear and DequantizeLinear by ONNX Runtime's own quantiser.

Weights are int8, symmetric, with a scale for each output channel. Activations are uint8 with one
scale and zero point a tensor: with signed activations ONNX Runtime takes twice as long on x86.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from onnx import ModelProto, NodeProto
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import add_infer_metadata

from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.graph import operator, stored_names
from worker.engine.formats.onnx.int8.answers import answers
from worker.engine.formats.onnx.int8.float_pools import keep_pools_in_floats
from worker.engine.formats.onnx.int8.layers import LAYERS
from worker.engine.formats.onnx.int8.ranges import Range

# Operators that compute nothing that 8 bits could not hold: between two layers in int8 they stay
# in int8, or each of them would turn its inputs into floats and its outputs back.
_BETWEEN = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Flatten",
    "GlobalAveragePool",
    "MaxPool",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
_LONGEST_MESSAGE = 300
_INFER_METADATA = "onnx.infer"


class _Quantiser(QDQQuantizer):  # type: ignore[misc]  # the runtime ships no types
    """ONNX Runtime's quantiser, which leaves some tensors in floats."""

    floats: Collection[str] = ()

    def quantize_activation_tensor(self, tensor_name: str) -> None:
        """Mark a tensor to be quantised, unless it stays."""
        if tensor_name not in self.floats:
            super().quantize_activation_tensor(tensor_name)


def quantised(
    model: ModelProto, ranges: Mapping[str, Range], nodes: Collection[str]
) -> ModelProto:
    """Return a prepared model with these layers in int8, and with the operators between them.

    An operator beside a layer that stays in float stays as well, and so do the model's answers.
    There is at least one layer.

    Raises:
        Refusal: `model_unsupported` where the quantiser cannot write the model.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    add_infer_metadata(copy)
    data = {
        name: (np.float32(least), np.float32(most))
        for name, (least, most) in ranges.items()
    }
    with _quiet():
        quantiser = _Quantiser(
            copy,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, data),
            nodes_to_quantize=[*nodes, *_between(model, nodes)],
            nodes_to_exclude=[],
            op_types_to_quantize=[*LAYERS, *_BETWEEN],
            extra_options={"WeightSymmetric": True},
        )
        quantiser.floats = answers(model)
        _run(quantiser)
    result: ModelProto = quantiser.model.model
    _drop_what_was_inferred(result)
    return result


def _run(quantiser: QDQQuantizer) -> None:
    try:
        quantiser.quantize_model()
        keep_pools_in_floats(quantiser.model.model)
        # it appends its operators, and ONNX wants each behind those that it reads
        quantiser.model.topological_sort()
    # the quantiser has no exceptions of its own: it stumbles over types that cannot be inferred
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise Refusal(
            Code.MODEL_UNSUPPORTED,
            "ONNX Runtime's quantiser cannot write the model in int8: "
            f"{str(error)[:_LONGEST_MESSAGE]}",
            field="precision",
            expected="float, or a model whose types ONNX can infer",
            got="int8",
        ) from error


def _between(model: ModelProto, nodes: Collection[str]) -> list[str]:
    """Return the operators between layers in int8, by name.

    What takes tensors of floats alone stays in floats.
    """
    producers: dict[str, NodeProto] = {}
    consumers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.output:
            producers[name] = node
        for name in node.input:
            own = consumers.setdefault(name, [])
            own.append(node)
    stored = stored_names(model.graph)
    floats_at_end = answers(model)
    chosen = set(nodes)
    names = []
    in_floats: set[str] = set()
    for node in model.graph.node:
        if operator(node) not in _BETWEEN or floats_at_end.issuperset(node.output):
            continue
        if all(name in stored for name in node.input):
            continue
        before = [producers[name] for name in node.input if name in producers]
        neighbours = list(before)
        for name in node.output:
            neighbours += consumers.get(name, [])
        takes_floats = before and all(each.name in in_floats for each in before)
        if takes_floats or any(_stays(each, chosen) for each in neighbours):
            in_floats.add(node.name)
        else:
            names.append(node.name)
    return names


def _stays(node: NodeProto, chosen: Collection[str]) -> bool:
    """Whether a node computes in floats."""
    if operator(node) in _BETWEEN:
        return False
    return node.name not in chosen


def _drop_what_was_inferred(model: ModelProto) -> None:
    """Remove the shapes within the graph and the quantiser's mark, which no runtime needs."""
    del model.graph.value_info[:]
    kept = [entry for entry in model.metadata_props if entry.key != _INFER_METADATA]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantiser's warnings, which speak of tensors that rightly stay floats."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
