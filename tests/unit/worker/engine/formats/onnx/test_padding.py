"""A padding that names inputs as nothing is written without them: ONNX Runtime then pads within the
layer behind.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
from support.onnx.text import outputs, written

from worker.engine.formats import open_model

PADDED = """
net (float[n, 4, 8, 8] x) => (float[n, 8, 4, 4] y) <float[8, 4, 3, 3] w> {
  sizes = Constant <value = int64[8] {0, 0, 0, 0, 0, 0, 1, 1}> ()
  padded = Pad (x, sizes)
  y = Conv <strides = [2, 2]> (padded, w)
}
"""


def optimised(path):
    """The operators that ONNX Runtime makes of a model."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    )
    options.optimized_model_filepath = str(path.with_suffix(".optimised"))
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [
        node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node
    ]


@pytest.mark.parametrize("nothing", [0, 1, 2])
def test_the_runtime_pads_within_the_layer(tmp_path, nothing):
    path = written(tmp_path, PADDED, header='<ir_version: 8, opset_import: ["": 18]>')
    model = onnx.load(path)
    model.graph.node[1].input.extend([""] * nothing)
    onnx.save(model, path)
    open_model("onnx", path).save(tmp_path / "saved.onnx")
    assert optimised(tmp_path / "saved.onnx") == ["Conv"]
    inputs = {"x": np.random.default_rng(0).random((2, 4, 8, 8), np.float32)}
    assert outputs(tmp_path / "saved.onnx", inputs)[0] == pytest.approx(
        outputs(path, inputs)[0], abs=1e-5
    )
