"""The advice: the fastest of the best level of risk, and int8 alone where more gains little."""

import json
from dataclasses import replace

import pytest
from support.onnx.text import written

from convpress.refusal import Code, Refusal
from convpress.report import ExpectedLoss
from convpress.report.advice import Advice, AdvisedOption
from worker.engine import advising
from worker.engine.advising import WAYS, advise, chosen
from worker.engine.pipeline import compress
from worker.engine.request import Request

LOW_RANK = AdvisedOption(
    name="low rank at 50 %",
    precision="float",
    flops_budget="0.5",
    time_kept=0.8,
    relative_error=0.1,
    risk="low",
)
ALONE = replace(
    LOW_RANK, name="int8 alone", precision="int8", flops_budget=None, time_kept=0.5
)
BOTH = replace(ALONE, name="both at 50 %", flops_budget="0.5", time_kept=0.48)


def test_int8_alone_is_advised_where_low_rank_adds_little():
    choice, text = chosen([LOW_RANK, ALONE, BOTH])
    assert choice == "int8 alone"
    assert text == (
        "Int8 alone: 2.0 times as fast, its outputs differ by 10.0 % (risk low); "
        "low rank adds nothing to it on this host."
    )


def test_both_are_advised_where_they_are_markedly_faster_at_the_same_risk():
    assert chosen([LOW_RANK, ALONE, replace(BOTH, time_kept=0.3)])[0] == "both at 50 %"
    choice, text = chosen(
        [LOW_RANK, ALONE, replace(BOTH, time_kept=0.25, risk="moderate")]
    )
    assert choice == "int8 alone"
    assert "2.0 times as fast again, at the risk moderate" in text


@pytest.mark.parametrize(
    ("lost", "choice"), [(0.03, "int8 alone"), (0.008, "both at 50 %")]
)
def test_both_are_advised_where_they_cost_few_right_answers(lost, choice):
    little, more = (
        ExpectedLoss(expected=expected, low=0.0, high=1.0) for expected in (0.001, lost)
    )
    alone = replace(ALONE, expected_loss=little)
    both = replace(BOTH, time_kept=0.25, expected_loss=more)
    name, text = chosen([alone, both])
    assert name == choice
    is_priced = "2.0 times as fast again, expected to lose 3.0 % (risk low)" in text
    assert is_priced == (choice == "int8 alone")


def test_both_that_were_refused_are_not_said_to_add_nothing():
    refused = replace(BOTH, time_kept=None, refusal="no")
    _, text = chosen([ALONE, refused])
    assert text.endswith("low rank was refused beside it.")


def test_a_better_level_goes_before_time():
    assert chosen([LOW_RANK, replace(ALONE, risk="moderate")])[0] == "low rank at 50 %"


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (replace(ALONE, time_kept=0.97), "nothing that was tried is faster"),
        (replace(ALONE, risk="high"), "has a high risk"),
        (replace(ALONE, risk="unknown", relative_error=0.66), "differs much"),
        (
            replace(ALONE, time_kept=None, refusal="no"),
            "nothing that was tried is faster",
        ),
    ],
)
def test_a_model_that_gains_nothing_is_left_as_it_is(option, reason):
    choice, text = chosen([option])
    assert choice is None
    assert text.startswith("Leave it as it is")
    assert reason in text


def test_an_unknown_risk_is_advised_where_the_outputs_are_near():
    near = replace(ALONE, risk="unknown", relative_error=0.01)
    far = replace(BOTH, risk="unknown", relative_error=0.66, time_kept=0.1)
    assert chosen([near, far])[0] == "int8 alone"


def test_the_expected_loss_is_told_where_it_is_known():
    loss = ExpectedLoss(expected=0.003, low=0.0, high=0.01)
    _, text = chosen([replace(ALONE, expected_loss=loss)])
    assert "expected to lose 0.30 % of its right answers (risk low)" in text


def test_a_format_without_int8_is_told_where_to_have_it():
    for model_format in ("torchscript", "pt2"):
        choice, text = chosen([replace(LOW_RANK, time_kept=0.8)], model_format)
        assert choice == "low rank at 50 %"
        assert text.endswith("export the model to ONNX to compare it.")


NET = """g (float[1, 8, 8, 8] x) => (float[1, 32, 8, 8] y) <float[32, 8, 3, 3] w>
{ y = Conv <pads = [1, 1, 1, 1]> (x, w) }"""


def test_every_way_is_measured_and_refusals_are_told(tmp_path):
    def without_both(request, emit):
        if request.precision == "int8" and request.budgets:
            raise Refusal(Code.BUDGET_UNREACHABLE, "too little")
        compress(
            replace(request, precision="float", budgets={"flops_budget": "0.9"}), emit
        )

    request = Request(
        str(written(tmp_path, NET)),
        "onnx",
        str(tmp_path / "out.onnx"),
        str(tmp_path / "advice.json"),
        calibration="none",
    )
    fractions = []
    advise(request, lambda _, fraction: fractions.append(fraction), without_both)
    advice = Advice.model_validate(json.loads((tmp_path / "advice.json").read_text()))
    assert [each.name for each in advice.options] == [way.name for way in WAYS]
    assert advice.options[-1].refusal == "too little"
    assert all(each.milliseconds > 0 for each in advice.options[:-1])
    assert fractions == sorted(fractions)
    assert advice.milliseconds > 0


def test_an_earlier_analysis_is_used_and_files_that_are_large_are_timed_in_pairs(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(advising, "_MOST_TOGETHER", 0)
    requests, together = [], []
    time_in_turn = advising.time_in_turn

    def timed(runners, inputs):
        together.append(len(runners))
        return time_in_turn(runners, inputs)

    def compress_in_float(request, emit):
        requests.append(request)
        compress(
            replace(request, precision="float", budgets={"flops_budget": "0.9"}), emit
        )

    monkeypatch.setattr(advising, "time_in_turn", timed)
    request = Request(
        str(written(tmp_path, NET)),
        "onnx",
        str(tmp_path / "out.onnx"),
        str(tmp_path / "advice.json"),
        calibration="none",
        analysis="earlier",
        kept_analysis=str(tmp_path / "kept"),
        largest_analysis=2**20,
    )
    advise(request, lambda *_: None, compress_in_float)
    kept = [str(tmp_path / "kept")] * (len(WAYS) - 1)
    assert [each.analysis for each in requests] == ["earlier", *kept]
    assert {each.largest_analysis for each in requests} == {2**20}
    assert together == [2] * len(WAYS)


def test_a_model_that_no_way_can_take_is_refused(tmp_path):
    def refuse(request, emit):
        raise Refusal(Code.MODEL_INVALID, "broken")

    request = Request(
        str(written(tmp_path, NET)), "onnx", str(tmp_path / "out.onnx"), ""
    )
    with pytest.raises(Refusal, match="broken"):
        advise(request, lambda *_: None, refuse)
