"""A budget of FLOPs is refused where the cost of some operators is not known."""

import json

import pytest
from support.onnx.text import written

from convpress.refusal import Code, Refusal
from worker.engine.pipeline import compress
from worker.engine.request import Request

# Its sequences are as long as an input says, so that its products depend on values.
UNKNOWN = (
    '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]> '
    "g (float[1, 8, 12, 12] x, int64 n) => (float[1, 16, 12, 12] y) "
    "<float[16, 8, 3, 3] w, float[16, 16, 3, 3] v> "
    "{ h = Conv <pads = [1, 1, 1, 1]> (x, w) c = Constant <value = bool {1}> () "
    "y = Loop (n, c, h) <body = b (int64 i, bool d, float[1, 16, 12, 12] s) => "
    "(bool e, float[1, 16, 12, 12] t) "
    "{ e = Identity(d) t = Conv <pads = [1, 1, 1, 1]> (s, v) }> }"
)


def compressed(tmp_path, budgets, **options):
    source = written(tmp_path, UNKNOWN)
    request = Request(
        str(source),
        "onnx",
        str(tmp_path / "out.onnx"),
        str(tmp_path / "report.json"),
        budgets,
        calibration="none",
        input_shape="n=2",
        **options,
    )
    compress(request, lambda *_: None)
    return json.loads((tmp_path / "report.json").read_text())


def test_a_flops_budget_is_refused_and_the_operators_are_named(tmp_path):
    with pytest.raises(
        Refusal, match=r"Conv 't' is not known .*loop of unknown length"
    ) as caught:
        compressed(tmp_path, {"flops_budget": "0.6"})
    assert caught.value.code == Code.ACCOUNT_INCOMPLETE
    assert caught.value.field == "allow_incomplete_account"
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    ("budgets", "allowed"),
    [({"flops_budget": "0.6"}, True), ({"params_budget": "0.9"}, False)],
)
def test_a_budget_that_may_leave_them_out_is_kept_and_the_report_says_so_first(
    tmp_path, budgets, allowed
):
    report = compressed(tmp_path, budgets, allow_incomplete_account=allowed)
    assert list(report)[:2] == ["account_complete", "unaccounted"]
    assert report["account_complete"] is False
    assert [each["operator"] for each in report["unaccounted"]] == ["Conv"]
    assert report["after"]["macs"] <= report["before"]["macs"] == 144 * 16 * 8 * 9
