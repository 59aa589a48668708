"""Compressions that are refused, from file to file, with the reason."""

import pytest
from support.engine.compressing import compress_text, compressed
from support.onnx.text import written

from convpress.refusal import Code, Refusal
from worker.engine.pipeline import compress
from worker.engine.request import Request


def test_what_cannot_be_reached_is_refused_with_the_least_that_can_and_that_is_reached(
    tmp_path,
):
    with pytest.raises(Refusal) as refused:
        compressed(tmp_path, "residual.onnx", flops_budget="0.01")
    assert refused.value.code == Code.BUDGET_UNREACHABLE
    assert refused.value.field == "flops_budget"
    least = refused.value.expected.rpartition(" or ")[2]
    _, report, _ = compressed(tmp_path, "residual.onnx", flops_budget=least)
    assert report["after"]["flops"] == int(least.split()[0])


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({}, Code.BUDGET_MISSING),
        ({"flops_budget": "abc"}, Code.BUDGET_INVALID),
        ({"rank": 0}, Code.FORM_INVALID),
        ({"flops_budget": "0.5", "calibration": "real"}, Code.CALIBRATION_INVALID),
        ({"flops_budget": "0.5", "input_range": "1,0"}, Code.INPUT_RANGE_INVALID),
        (
            {
                "flops_budget": "0.5",
                "calibration": "synthetic",
                "input_mean": "0,0",
                "input_std": "1",
            },
            Code.INPUT_RANGE_INVALID,
        ),
        ({"flops_budget": "0.5", "input_mean": "0"}, Code.INPUT_RANGE_INVALID),
        ({"form": "svd", "flops_budget": "0.5"}, Code.FORM_INVALID),
        (
            {"flops_budget": "0.5", "input_shape": "1x3x16x16"},
            Code.INPUT_SHAPE_MISMATCH,
        ),
        ({"flops_budget": "0.5", "input_shape": "1x1x16"}, Code.INPUT_SHAPE_MISMATCH),
    ],
)
@pytest.mark.parametrize("name", ["residual.onnx", "residual.traced.pt"])
def test_what_cannot_be_served_is_refused(tmp_path, name, asked, code):
    with pytest.raises(Refusal) as refused:
        compressed(tmp_path, name, **asked)
    assert refused.value.code == code


def test_a_budget_that_layers_stand_in_the_way_of_says_which_and_why(tmp_path):
    path = written(
        tmp_path,
        """net (float[1, 3, 8, 8] x, float[4, 3, 3, 3] k) => (float[1, 4, 6, 6] y)
            <float[4, 3, 3, 3] w> {
        a = Conv(x, k) b = Conv(x, w) c = Conv(x, k) d = Add(a, b) y = Add(c, d) }""",
    )
    request = Request(
        str(path),
        "onnx",
        str(tmp_path / "out.onnx"),
        str(tmp_path / "r.json"),
        {"flops_budget": "0.1"},
        calibration="none",
    )
    with pytest.raises(Refusal) as refused:
        compress(request, lambda *_: None)
    assert refused.value.code == Code.BUDGET_UNREACHABLE
    assert (
        "of 3 layers 2 stay as they are: 2 because its weight is computed at run time"
        in refused.value.detail
    )


INTEGERS = (
    "net (float[1, 8] x) => (float[1, 8] y) <int8[8, 8] w> { s = Constant <value = float {0.1}> () "
    "y = com.microsoft.DynamicQuantizeMatMul(x, w, s) }"
)


SCALED_IN_A_RUN = (
    "net (float[1, 8] x) => (float[1, 8] y) <int8[8, 8] w> { s = ReduceMax <keepdims = 0> (x) "
    "v = DequantizeLinear(w, s) y = MatMul(x, v) }"
)
HEADER = '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]> '

# As scikit-learn's models are exported.
REGRESSOR = (
    '<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 1]> '
    "net (float[1, 2] x) => (float[1, 1] y) "
    "{ y = ai.onnx.ml.LinearRegressor <coefficients = [1.0, 2.0]> (x) }"
)


@pytest.mark.parametrize(
    ("text", "detail", "got"),
    [
        (
            "net (float[1, 4] x) => (float[1, 4] y) { h = Exp(x) y = Relu(h) }",
            "the model has no layers with weights",
            "Exp, Relu",
        ),
        (
            REGRESSOR,
            "has no layers with weights: its weights are attributes (1 layer)",
            "LinearRegressor",
        ),
        (
            HEADER + INTEGERS,
            "computes with integers (1 layer); give the model from before",
            None,
        ),
        (
            HEADER + SCALED_IN_A_RUN,
            "its weight is quantised (1 layer); give the model from before",
            None,
        ),
    ],
)
def test_a_model_without_layers_to_factor_is_refused_with_the_reason(
    tmp_path, text, detail, got
):
    with pytest.raises(Refusal) as refused:
        compress_text(tmp_path, text)
    assert refused.value.code == Code.NOTHING_TO_COMPRESS
    assert detail in refused.value.detail
    assert got in (None, refused.value.got)
    assert not (tmp_path / "out.onnx").exists()
