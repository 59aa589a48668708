"""Gemms of every form of bias, and with factors, in int8: the same outputs, nearly."""

import numpy as np
import onnx
import pytest
from support.onnx.text import outputs, written

from worker.engine.formats.adapter import Int8Inputs
from worker.engine.formats.onnx.int8.write import write_in_int8
from worker.engine.model import Inputs

NET = """g (float[4, 16] x) => (float[4, 6] y, float[4, 6] z)
<float[6, 16] w{bias_declared}> {{
    y = Gemm <transB = 1, alpha = {alpha}, beta = {beta}> (x, w{bias})
    z = Gemm <transB = 1> (x, w{bias}) }}"""


def inputs(seed: int) -> list[Inputs]:
    generator = np.random.default_rng(seed)
    return [
        {"x": generator.uniform(-1, 1, (4, 16)).astype(np.float32)} for _ in range(16)
    ]


def quantised(tmp_path, bias, alpha=1.0, beta=1.0):
    """Return the layers, and the relative error of each output."""
    declared = "" if bias is None else f", float[{bias}] b"
    text = NET.format(
        bias_declared=declared,
        bias="" if bias is None else ", b",
        alpha=alpha,
        beta=beta,
    )
    if bias == "":
        text = text.replace("float[] b", "float b")
    path = written(tmp_path, text)
    held_out = inputs(1)
    expected = outputs(path, held_out[0])
    layers = write_in_int8(path, Int8Inputs(inputs(0), held_out, 100), ())
    onnx.checker.check_model(onnx.load(path), full_check=True)
    results = outputs(path, held_out[0])
    pairs = zip(results, expected, strict=True)
    return layers, [
        np.linalg.norm(one - other) / np.linalg.norm(other) for one, other in pairs
    ]


@pytest.mark.parametrize("bias", [None, "6", "1, 6", "1", "", "1, 1"])
def test_a_bias_for_each_output_is_in_int8(tmp_path, bias):
    layers, errors = quantised(tmp_path, bias)
    assert len(layers.sites) == 1
    assert max(errors) < 0.05


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 1.0), (1.0, 3.0), (2.0, 0.0)])
def test_factors_go_into_weights_and_biases_that_others_keep(tmp_path, alpha, beta):
    layers, errors = quantised(tmp_path, "6", alpha, beta)
    # a weight with two scales is two layers
    assert len(layers.sites) == 2
    assert max(errors) < 0.05


@pytest.mark.parametrize("bias", ["4, 6", "4, 1"])
def test_a_gemm_that_adds_a_matrix_stays_in_float(tmp_path, bias):
    text = f"""g (float[4, 16] x) => (float[4, 6] y)
    <float[16, 16] v, float[6, 16] w, float[{bias}] b> {{
        a = MatMul(x, v)
        y = Gemm <transB = 1> (a, w, b) }}"""
    path = written(tmp_path, text)
    layers = write_in_int8(path, Int8Inputs(inputs(0), inputs(1), 100), ())
    assert layers.sites == ("v",)
