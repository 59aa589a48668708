"""Quantised files are written in floats, and others are not written."""

import onnx
import pytest
from support.onnx.text import written

from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.floats import write_in_float
from worker.engine.model import Restored


def test_a_quantised_model_is_written_with_its_floats(tmp_path):
    source = written(
        tmp_path,
        """g (float[1, 4] x) => (float[1, 6] y) <int8[4, 6] w, float f> {
            v = DequantizeLinear(w, f)  y = MatMul(x, v) }""",
    )
    target = tmp_path / "floats.onnx"
    assert write_in_float(source, target) == Restored(weights=1, pairs=0)
    kinds = [node.op_type for node in onnx.load(target).graph.node]
    assert kinds == ["MatMul"]


def test_a_model_in_floats_is_not_written_anew(tmp_path):
    source = written(tmp_path, "g (float[2] x) => (float[2] y) { y = Relu(x) }")
    assert write_in_float(source, tmp_path / "floats.onnx") is None
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_a_file_that_cannot_be_parsed_is_refused(tmp_path):
    source = tmp_path / "model.onnx"
    source.write_bytes(b"\xff")
    with pytest.raises(Refusal) as refused:
        write_in_float(source, tmp_path / "floats.onnx")
    assert refused.value.code == Code.MODEL_INVALID
