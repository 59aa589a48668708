"""ONNX files without the library: it reads them, and the runtime runs them."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from worker.engine.costs.onnx_bytes import Node, model_bytes


def test_the_library_reads_what_was_written():
    weight = np.arange(300, dtype=np.float32).reshape(300, 1, 1, 1)
    attributes = {"group": 1, "pads": [0, 0, 0, 0], "strides": (2, 300)}
    nodes = [Node("Conv", ["x", "w"], ["y"], "layer", attributes)]
    content = model_bytes(nodes, {"x": (1, 1, 2, 2)}, "y", {"w": weight})
    model = onnx.load_model_from_string(content)
    assert model.opset_import[0].version == 17
    assert [
        size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim
    ] == [
        1,
        1,
        2,
        2,
    ]
    [node] = model.graph.node
    read = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    assert read == {"group": 1, "pads": [0, 0, 0, 0], "strides": [2, 300]}
    assert (numpy_helper.to_array(model.graph.initializer[0]) == weight).all()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    [y] = session.run(None, {"x": np.full((1, 1, 2, 2), 2.0, np.float32)})
    assert (y.ravel() == 2 * weight.ravel()).all()
