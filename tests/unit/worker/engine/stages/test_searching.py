"""The search for the cheapest artifact that keeps a promise."""

import json

import numpy as np
import pytest
from digits import MODELS, split
from support.engine.calibrating import calibrate_little
from support.engine.compressing import compressed
from support.engine.evaluating import digits_file
from support.onnx.text import outputs, written

from convpress.refusal import Refusal
from convpress.report import Report
from worker.engine.pipeline import compress
from worker.engine.request import Request
from worker.engine.selection import analysis, analysis_file
from worker.engine.selection.least_kept import MILDEST
from worker.engine.stages import searching

IMAGE_TO_IMAGE = (
    '<ir_version: 8, opset_import: ["": 17]> '
    "g (float[1, 8, 12, 12] x) => (float[1, 16, 12, 12] y) <float[16, 8, 3, 3] w> "
    "{ y = Conv <pads = [1, 1, 1, 1]> (x, w) }"
)


def promised(folder, name="plain.onnx", **options):
    folder.mkdir(exist_ok=True)
    output, report, steps = compressed(folder, name, **options)
    return output, Report.model_validate(report), steps


@pytest.mark.parametrize(
    "name", ["plain.onnx", pytest.param("plain.traced.pt", marks=pytest.mark.slow)]
)
def test_the_artifact_is_the_cheapest_one_that_keeps_the_loss_of_the_metric(
    tmp_path, name
):
    path = digits_file(tmp_path, name)
    options = {"evaluation": str(path), "max_loss": "10%"}
    output, report, steps = promised(tmp_path / "search", name, **options)
    kept = {each.budget: each for each in report.tried if each.kept}
    budget = report.budget["flops_budget"]
    assert budget == min(kept, key=lambda text: int(text[:-1]))
    assert report.budget["promise"] == "max_loss=10%"
    # the percentage below was tried too, and loses more
    below = next(
        each for each in report.tried if each.budget == f"{int(budget[:-1]) - 1}%"
    )
    assert below.kept is False
    assert below.loss is None or below.loss > 0.1
    assert report.evaluation.loss <= 0.1 + 1e-9
    assert kept[budget].figure == report.evaluation.after
    assert kept[budget].keep == report.keep
    measured = f"measured on {report.evaluation.count} samples, with a standard error"
    assert measured in report.budget["note"]
    plain, plain_report, _ = promised(tmp_path / "plain", name, flops_budget=budget)
    assert output.read_bytes() == plain.read_bytes()
    assert report.before.macs == plain_report.before.macs
    assert list(json.loads((output.parent / "report.json").read_text()))[4:6] == [
        "evaluation",
        "tried",
    ]
    fractions = [fraction for _, fraction in steps]
    assert fractions == sorted(fractions)
    assert sorted(each.name for each in output.parent.iterdir()) == [
        output.name,
        "report.json",
    ]


@pytest.fixture
def two_tries(monkeypatch):
    """Calibrate as little as possible, and try two budgets alone."""
    calibrate_little(monkeypatch)
    monkeypatch.setattr(
        searching, "least_kept", lambda is_kept: is_kept(40) or is_kept(90) or None
    )


def test_the_agreement_is_kept_from_one_analysis_and_the_report_says_what_it_stands_on(
    tmp_path, monkeypatch, two_tries
):
    analyses = []
    analysed = analysis._analysed
    monkeypatch.setattr(
        analysis,
        "_analysed",
        lambda *arguments: analyses.append(1) or analysed(*arguments),
    )
    kept = tmp_path / "analysis"
    options = {"calibration": "synthetic", "max_loss": "30%"}
    options |= {"kept_analysis": str(kept), "largest_analysis": 2**30}
    _, report, _ = promised(tmp_path / "search", **options)
    assert analyses == [1]
    assert kept.exists()
    assert not report.engine.analysis_reused
    assert {each.metric for each in report.tried} == {"agreement"}
    last = min((each for each in report.tried if each.kept), key=lambda each: each.keep)
    assert last.figure == report.verification.agreement >= 0.7
    runs = report.verification.runs
    assert (
        f"measured on {runs} synthetic inputs, of which one is" in report.budget["note"]
    )
    assert "send samples" in report.budget["note"]


def test_low_risk_is_the_promise_of_an_automatic_budget(tmp_path, two_tries):
    samples = tmp_path / "samples.npy"
    (images, _), _ = split()
    np.save(samples, images[:200])
    options = {
        "calibration": "samples",
        "samples": str(samples),
        "flops_budget": "auto",
    }
    _, report, _ = promised(tmp_path, **options)
    assert report.risk.level == "low"
    assert report.budget["promise"] == "flops_budget=auto"
    assert all(each.kept == (each.level == "low") for each in report.tried)
    assert {each.metric for each in report.tried} == {"risk"}


@pytest.mark.parametrize(
    ("options", "code", "detail"),
    [
        ({"flops_budget": "auto"}, "budget_invalid", "compared on noise"),
        ({"max_loss": "1%"}, "budget_invalid", "compared on noise"),
        ({"max_loss": "1%", "flops_budget": "0.5"}, "budget_invalid", "contradict"),
        ({"max_loss": "1%", "rank": 2, "form": "dac"}, "budget_invalid", "fixed rank"),
    ],
)
def test_a_promise_that_nothing_can_judge_is_refused_before_anything_is_tried(
    tmp_path, options, code, detail, monkeypatch
):
    monkeypatch.setattr(
        analysis, "_analysed", lambda *_: pytest.fail("it was analysed")
    )
    with pytest.raises(Refusal, match=detail) as caught:
        promised(tmp_path, **options)
    assert caught.value.code == code
    fields = {"max_loss", "flops_budget"} & options.keys()
    assert caught.value.field in fields


def test_a_promise_that_no_budget_keeps_is_refused_with_what_was_tried(tmp_path):
    (images, _), _ = split()
    source = MODELS / "plain.onnx"
    [targets] = outputs(source, {"image": images[:8]})
    np.savez(tmp_path / "evaluation.npz", image=images[:8], targets=targets)
    options = {
        "evaluation": str(tmp_path / "evaluation.npz"),
        "evaluation_metric": "mse",
        "max_loss": "0.000000001",
    }
    with pytest.raises(Refusal, match=f"tried: .*; {MILDEST}% loses") as caught:
        promised(tmp_path, **options)
    assert caught.value.code == "budget_unreachable"
    assert not (tmp_path / "out.onnx").exists()


def test_a_model_without_classes_is_refused_before_its_calibration(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(
        analysis, "_analysed", lambda *_: pytest.fail("it was calibrated")
    )
    request = Request(
        str(written(tmp_path, IMAGE_TO_IMAGE)),
        "onnx",
        str(tmp_path / "out.onnx"),
        str(tmp_path / "report.json"),
        max_loss="1%",
    )
    with pytest.raises(Refusal, match="gives no classes") as caught:
        compress(request, lambda *_: None)
    assert (caught.value.code, caught.value.field) == ("budget_invalid", "max_loss")


def test_a_budget_beside_a_promise_that_cannot_be_reached_is_named(tmp_path):
    options = {
        "evaluation": str(digits_file(tmp_path, "plain.onnx")),
        "max_loss": "10%",
    }
    with pytest.raises(Refusal) as caught:
        promised(tmp_path, params_budget="0.001", **options)
    assert (caught.value.code, caught.value.field) == (
        "budget_unreachable",
        "params_budget",
    )


def test_without_room_for_an_analysis_each_try_makes_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(analysis_file, "write", lambda *_: None)
    options = {
        "evaluation": str(digits_file(tmp_path, "plain.onnx")),
        "max_loss": "40%",
    }
    _, report, _ = promised(tmp_path / "search", **options)
    assert report.evaluation.loss <= 0.4
