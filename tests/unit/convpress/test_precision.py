"""int8 is for ONNX models, and for calibrations that measure ranges."""

import pytest

from convpress.precision import (
    PRECISIONS,
    parse_precision,
    require_onnx,
    require_ranges,
)
from convpress.refusal import Code, Refusal


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_torchscript_model_stays_in_float(precision):
    require_onnx(precision, "onnx")
    if precision == "float":
        require_onnx(precision, "torchscript")
        return
    with pytest.raises(Refusal, match="int8 is for ONNX models") as refused:
        require_onnx(precision, "torchscript")
    assert refused.value.code == Code.PRECISION_INVALID


def test_a_calibration_that_measures_nothing_is_refused_where_int8_may_be_chosen():
    require_ranges("float", "none")
    require_ranges("auto", "samples")
    with pytest.raises(Refusal, match="calibration=none"):
        require_ranges("auto", "none")


def test_a_misspelt_precision_is_refused_with_the_nearest():
    with pytest.raises(Refusal, match=r"'int' is no precision: did you mean int8\?"):
        parse_precision("int")


def test_a_long_text_is_not_quoted_whole():
    with pytest.raises(Refusal, match="is no precision") as refused:
        parse_precision("x" * 100_000)
    assert len(refused.value.detail) < 200
    assert len(refused.value.got) == 80
