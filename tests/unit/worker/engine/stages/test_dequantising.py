"""Jobs of quantised models: their floats are factored, and the report says so first."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx.text import written

from convpress.report import Inspection, Report
from worker.engine.pipeline import compress, inspect
from worker.engine.request import Request

CHANNELS = 24
WEIGHTS = (
    f"int8[{CHANNELS}, 8, 3, 3] w1, int8[{CHANNELS}, {CHANNELS}, 3, 3] w2, "
    f"float[{CHANNELS}] f1, float[{CHANNELS}] f2, float[{CHANNELS}, 5] w3"
)


def quantised_model():
    """Return two convolutions with a rectifier that only a zero point is, and a linear layer."""
    return f"""g (float[1, 8, 8, 8] x) => (float[1, 5] y)
<{WEIGHTS}> {{
    s = Constant <value = float {{0.05}}> () z = Constant <value = uint8 {{0}}> ()
    v1 = DequantizeLinear <axis = 0> (w1, f1)
    v2 = DequantizeLinear <axis = 0> (w2, f2)
    a = Conv <pads = [1, 1, 1, 1]> (x, v1)
    q = QuantizeLinear(a, s, z)
    d = DequantizeLinear(q, s, z)
    b = Conv <pads = [1, 1, 1, 1]> (d, v2)
    e = GlobalAveragePool(b)
    h = Flatten(e)
    y = Gemm(h, w3) }}"""


def request_for(tmp_path, precision="float", budgets=None):
    source = written(tmp_path, quantised_model())
    proto = onnx.load(source)
    for tensor in proto.graph.initializer:
        # random scales may be negative, and those of quantisers are small
        if tensor.name in ("f1", "f2"):
            small = np.full(CHANNELS, 0.02, np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(small, tensor.name))
        elif tensor.data_type == onnx.TensorProto.INT8:
            integers = np.random.default_rng(1).integers(-127, 128, tensor.dims)
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(integers.astype(np.int8), tensor.name)
            )
    onnx.save(proto, source)
    return request_for_file(tmp_path, precision, budgets)


def request_for_file(tmp_path, precision="float", budgets=None):
    source = tmp_path / "model.onnx"
    samples = tmp_path / "samples.npy"
    images = np.random.default_rng(0).standard_normal((20, 8, 8, 8))
    np.save(samples, images.astype(np.float32))
    return Request(
        str(source),
        "onnx",
        str(tmp_path / "out.onnx"),
        str(tmp_path / "report.json"),
        budgets or {},
        samples=str(samples),
        calibration="samples",
        precision=precision,
    )


def compressed(request):
    compress(request, lambda *_: None)
    return Report.model_validate(json.loads(Path(request.report).read_text()))


def stored_types(path):
    return {tensor.data_type for tensor in onnx.load(path).graph.initializer}


def test_the_floats_of_a_quantised_model_are_factored(tmp_path):
    request = request_for(tmp_path, budgets={"flops_budget": "0.6"})
    report = compressed(request)
    assert report.restored.startswith("The model is quantised: 2 weights became")
    assert "1 pair of QuantizeLinear" in report.restored
    assert report.keep <= 0.6
    assert report.before.integer_operations > 0.9 * report.before.flops
    assert report.after.integer_operations == 0
    assert report.verification.relative_error < 1
    assert onnx.TensorProto.INT8 not in stored_types(request.output)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *["model.onnx", "out.onnx", "report.json", "samples.npy"]
    ]


def test_int8_quantises_it_again(tmp_path):
    request = request_for(tmp_path, "int8")
    report = compressed(request)
    assert report.restored.endswith("The artifact was quantised again.")
    assert report.after.integer_operations == report.after.flops
    assert report.before.bytes < 2 * report.after.bytes
    # rounding is all that the second quantisation changes
    assert report.verification.relative_error < 0.05


def test_an_artifact_without_int8_is_not_said_to_be_quantised(tmp_path):
    """A budget of FLOPs alone never asks for int8."""
    report = compressed(request_for(tmp_path, "auto", {"flops_budget": "0.6"}))
    assert report.after.integer_operations == 0
    assert report.restored.endswith("computes in floats: no layer is in int8.")


def test_names_of_the_first_quantisation_do_not_meet_those_of_the_second(tmp_path):
    first = compressed(request_for(tmp_path, "int8"))
    (tmp_path / "out.onnx").rename(tmp_path / "model.onnx")
    request = replace(request_for_file(tmp_path), budgets={"flops_budget": "0.6"})
    report = compressed(replace(request, precision="int8"))
    assert report.before.bytes == first.after.bytes
    assert report.keep <= 0.6


@pytest.mark.parametrize("precision", ["int8", "auto"])
def test_a_share_of_bytes_is_one_of_the_posted_file(tmp_path, precision):
    request = request_for(tmp_path, precision, {"bytes_budget": "0.9"})
    report = compressed(request)
    assert report.budget["bytes"] == int(0.9 * report.before.bytes)
    assert (tmp_path / "out.onnx").stat().st_size <= report.budget["bytes"]


def test_a_budget_that_allows_the_model_returns_it_in_integers(tmp_path):
    request = request_for(tmp_path, budgets={"bytes_budget": "100%"})
    report = compressed(request)
    assert report.restored is None
    assert (tmp_path / "out.onnx").read_bytes() == (
        tmp_path / "model.onnx"
    ).read_bytes()


def test_the_inspection_says_what_a_job_does(tmp_path):
    request = request_for(tmp_path)
    inspect(request, lambda *_: None)
    account = Inspection.model_validate(json.loads(Path(request.report).read_text()))
    assert account.restored.endswith("with precision=int8 in integers again.")
    assert [site.reason for site in account.sites] == [None] * 3
    assert account.bytes == (tmp_path / "model.onnx").stat().st_size
