"""ONNX models whose large weights are stored in each way that the format has."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from support.onnx.text import model

LARGE = 4096


CONVOLUTION = (
    "g (float[1, 3, 8, 8] x) => (float[1, 16, 6, 6] y) <float[16, 3, 3, 3] w> "
    "{ y = Conv(x, w) }"
)


def weights_in(path, kind):
    """A model whose two large weights are stored as `kind`: a field of TensorProto, or Constant
    nodes.
    """
    proto = model(
        f"g (float[1, {LARGE}] x) => (float[1, {LARGE}] y) {{ a = Add(x, one) y = Add(a, two) }}"
    )
    for name in ("two", "one"):
        values = (
            np.random.default_rng(len(name)).standard_normal(LARGE).astype(np.float32)
        )
        if kind == "float_data":
            tensor = helper.make_tensor(
                name, TensorProto.FLOAT, [LARGE], values, raw=False
            )
        else:
            tensor = numpy_helper.from_array(values, name)
        if kind == "constants":
            proto.graph.node.insert(
                0, helper.make_node("Constant", [], [name], value=tensor)
            )
        else:
            proto.graph.initializer.append(tensor)
    onnx.save(proto, path)
    return proto


def weights_of(proto):
    """The tensors of such a model, wherever they are."""
    constants = [
        node.attribute[0].t for node in proto.graph.node if node.op_type == "Constant"
    ]
    return constants or list(proto.graph.initializer)
