"""Verification: promises are checked on the file, and no opened model is in memory by then."""

import weakref
from dataclasses import replace

import pytest
from support.compressing import compressed

from convpress.refusal import Code, Refusal
from worker.engine import pipeline
from worker.engine.stages.opening import open_for_compression
from worker.engine.stages.verifying import verify
from worker.engine.stages.writing import write_artifact


@pytest.mark.parametrize("name", ["plain.onnx", "plain.traced.pt"])
def test_when_the_results_are_run_the_opened_model_and_its_plan_are_gone(
    tmp_path, monkeypatch, name
):
    references = []
    alive = []

    def opened(*arguments):
        model = open_for_compression(*arguments)
        references.append(weakref.ref(model.model))
        return model

    def written(request, opened, plan, progress):
        references.extend(map(weakref.ref, (opened, plan)))
        return write_artifact(request, opened, plan, progress)

    def verified(*arguments):
        alive.extend(reference() for reference in references)
        return verify(*arguments)

    monkeypatch.setattr(pipeline, "open_for_compression", opened)
    monkeypatch.setattr(pipeline, "write_artifact", written)
    monkeypatch.setattr(pipeline, "verify", verified)
    compressed(tmp_path, name, flops_budget="50%")
    assert len(references) == 3
    assert alive == [None] * 3


@pytest.mark.parametrize(
    ("broken", "detail"),
    [
        (lambda artifact: replace(artifact, macs=artifact.macs + 1), "the sum of its layers"),
        (lambda artifact: replace(artifact, goal=with_less(artifact.goal)), "fit its budget"),
    ],
)
def test_an_artifact_that_breaks_its_promise_is_refused(tmp_path, monkeypatch, broken, detail):
    monkeypatch.setattr(
        pipeline, "write_artifact", lambda *arguments: broken(write_artifact(*arguments))
    )
    with pytest.raises(Refusal, match=detail) as refused:
        compressed(tmp_path, "plain.onnx", flops_budget="50%")
    assert refused.value.code == Code.VERIFICATION_FAILED


def with_less(objective):
    return replace(objective, budgets=(replace(objective.budgets[0], allowed=1),))
