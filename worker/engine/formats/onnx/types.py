"""What kind of value every name in an ONNX graph stands for, as ONNX Runtime tells."""

from pathlib import Path
from typing import NamedTuple

from onnx import ModelProto, TensorProto, TypeProto

from worker.engine.formats.onnx.runner import session


class Kind(NamedTuple):
    """A value's type, in the runtime's words (`tensor(float16)`), and its number of axes where that is known."""

    said: str
    rank: int | None

    @property
    def element(self) -> int | None:
        """ONNX's number of the element type; None for what is no tensor."""
        inner = _inside(self.said, "tensor")
        return None if inner is None else TensorProto.DataType.Value(inner.upper())


def kinds(model: ModelProto, source: Path) -> dict[str, Kind]:
    """Return the kind of every input, stored tensor and node output of the main graph of a skeleton.

    The runtime loads the model once, with everything that nodes give as its outputs; it does not run it.

    Raises:
        Refusal: `model_invalid` where it cannot load the model.
    """
    probe = ModelProto()
    probe.CopyFrom(model)
    probe.graph.ClearField("output")
    for name in dict.fromkeys(name for node in probe.graph.node for name in node.output if name):
        probe.graph.output.add(name=name)
    opened = session(probe.SerializeToString(), source)
    found = {
        value.name: Kind(value.type, len(value.shape) or None) for value in opened.get_outputs()
    }
    found.update(
        (value.name, Kind(value.type, len(value.shape) or None)) for value in opened.get_inputs()
    )
    graph = model.graph
    stored = [(tensor, len(tensor.dims)) for tensor in graph.initializer]
    stored += [(sparse.values, len(sparse.dims)) for sparse in graph.sparse_initializer]
    for tensor, rank in stored:
        element = TensorProto.DataType.Name(tensor.data_type).lower()
        found[tensor.name] = Kind(f"tensor({element})", rank)
    return found


def type_proto(said: str) -> TypeProto:
    """Return the type of ONNX that the runtime calls so.

    >>> type_proto("seq(tensor(int64))").sequence_type.elem_type.tensor_type.elem_type == TensorProto.INT64
    True
    """
    kind = TypeProto()
    if (inner := _inside(said, "tensor")) is not None:
        kind.tensor_type.elem_type = TensorProto.DataType.Value(inner.upper())
    elif (inner := _inside(said, "seq")) is not None:
        kind.sequence_type.elem_type.CopyFrom(type_proto(inner))
    elif (inner := _inside(said, "optional")) is not None:
        kind.optional_type.elem_type.CopyFrom(type_proto(inner))
    else:
        raise ValueError(f"no type of values that steps can hand on: {said}")
    return kind


def _inside(said: str, kind: str) -> str | None:
    return said[len(kind) + 1 : -1] if said.startswith(f"{kind}(") else None
