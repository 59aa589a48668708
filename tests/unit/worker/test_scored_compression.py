"""Compressions that a command measures: the numbers in the report, and the search for a loss."""

import json
from pathlib import Path

import pytest
from support.service.fake_engine import REPORT

from convpress.refusal import Code, Refusal
from convpress.report import Report
from worker.engine.request import Request
from worker.scored_compression import Attempt, scored
from worker.scoring import Scorer


class Files(Scorer):
    """A command that reads its number from the model's file."""

    def score(self, model):
        return float(Path(model).read_text())


class Engine:
    """An engine whose artifacts of `percent` lose `loss(percent)` of 100."""

    def __init__(self, loss, least=0):
        self.loss, self.least = loss, least
        self.requests = []

    def make(self, request, target):
        self.requests.append(request)
        percent = int(request.budgets["flops_budget"][:-1])
        if percent < self.least:
            raise Refusal(Code.BUDGET_UNREACHABLE, "no", field="flops_budget")
        Path(request.kept_analysis or "/dev/null").touch()
        target.write_text(str(100 - self.loss(percent)))
        content = json.dumps(
            REPORT | {"keep": percent / 100, "evaluation": None, "tried": []}
        )
        return Attempt(target, content.encode(), Report.model_validate_json(content))


def run(folder, engine, budgets=None, **options):
    model = folder / "net.onnx"
    model.write_text("100")
    (folder / "output").mkdir()
    request = Request(
        str(model),
        "onnx",
        str(folder / "output" / "o.onnx"),
        "",
        budgets or {},
        **options,
    )
    return scored(engine.make, request, model, Files(()), folder)


def test_the_numbers_before_and_after_are_in_the_report(tmp_path):
    attempt = run(tmp_path, Engine(lambda percent: 4.5), {"flops_budget": "50%"})
    evaluation = attempt.report.evaluation
    assert (evaluation.before, evaluation.after, evaluation.loss) == (100.0, 95.5, 4.5)
    assert Report.model_validate_json(attempt.content) == attempt.report


def test_the_cheapest_artifact_that_keeps_the_loss_is_looked_for_with_one_analysis(
    tmp_path,
):
    engine = Engine(lambda percent: 50 - percent, least=20)
    attempt = run(tmp_path, engine, {"params_budget": "0.9"}, max_loss="13")
    assert (
        attempt.artifact.read_text() == "87.0"
        or float(attempt.artifact.read_text()) == 87
    )
    assert attempt.report.keep == 0.37
    assert attempt.report.budget["promise"] == "max_loss=13"
    assert Report.model_validate_json(attempt.content) == attempt.report
    tried = {each.budget: each.kept for each in attempt.report.tried}
    assert tried["37%"]
    assert not tried["36%"]
    first, *others = engine.requests
    assert first.analysis is None
    assert {each.analysis for each in others} == {first.kept_analysis}
    assert all(each.max_loss is None for each in engine.requests)
    assert all(each.budgets["params_budget"] == "0.9" for each in engine.requests)


def test_a_loss_that_no_budget_keeps_is_refused_with_what_was_tried(tmp_path):
    with pytest.raises(
        Refusal, match="tried: 48% cannot be reached; 72% loses 7 of score"
    ) as got:
        run(tmp_path, Engine(lambda percent: 7, least=50), max_loss="1%")
    assert (got.value.code, got.value.field) == ("budget_unreachable", "max_loss")
    assert "95%, loses 7 of score" in got.value.expected


def test_a_refusal_of_every_budget_is_passed_on(tmp_path):
    with pytest.raises(Refusal, match=r"^no$"):
        run(tmp_path, Engine(lambda percent: 0, least=99), max_loss="1%")
