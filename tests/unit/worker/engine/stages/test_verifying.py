"""Verification: promises are checked on the file, and no opened model is in memory by then."""

import weakref
from dataclasses import replace

import pytest
from support.engine.compressing import compressed

from convpress.refusal import Code, Refusal
from worker.engine import pipeline
from worker.engine.formats import load_runner
from worker.engine.numerics.threads import model_threads
from worker.engine.stages import verifying
from worker.engine.stages.opening import open_for_compression
from worker.engine.stages.verifying import verify
from worker.engine.stages.writing import write_artifact
from worker.engine.timing import RunTimes, Spread


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
    ("broken", "code", "detail"),
    [
        (
            lambda artifact: replace(artifact, costs=with_more(artifact.costs)),
            Code.VERIFICATION_FAILED,
            "the sum of its layers",
        ),
        (
            lambda artifact: replace(artifact, goal=with_less(artifact.goal)),
            Code.VERIFICATION_FAILED,
            "fit its budget",
        ),
        (
            lambda artifact: replace(
                artifact,
                goal=with_less(artifact.goal),
                sites=[replace(site, int8_loss=0.4) for site in artifact.sites],
            ),
            Code.BUDGET_UNREACHABLE,
            "int8 loses too much at .*: with these layers in float",
        ),
    ],
)
def test_an_artifact_that_breaks_its_promise_is_refused(
    tmp_path, monkeypatch, broken, code, detail
):
    monkeypatch.setattr(
        pipeline,
        "write_artifact",
        lambda *arguments: broken(write_artifact(*arguments)),
    )
    with pytest.raises(Refusal, match=detail) as refused:
        compressed(tmp_path, "plain.onnx", flops_budget="50%")
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("most_bytes", "method"), [(2**30, "in turn"), (1000, "one after the other")]
)
@pytest.mark.parametrize(
    "name",
    ["plain.onnx", pytest.param("plain.traced.pt", marks=pytest.mark.slow)],
)
def test_large_models_are_timed_one_after_the_other_and_the_report_says_so(
    tmp_path, monkeypatch, name, most_bytes, method
):
    monkeypatch.setattr(verifying, "_MOST_BYTES_TOGETHER", most_bytes)
    references = []
    most = []

    def loaded(*arguments):
        runner = load_runner(*arguments)
        references.append(weakref.ref(runner))
        most.append(sum(reference() is not None for reference in references))
        return runner

    monkeypatch.setattr(verifying, "load_runner", loaded)
    _, report, _ = compressed(tmp_path, name, flops_budget="50%", calibration="none")
    assert most == ([1, 2] if method == "in turn" else [1, 1])
    timing = report["timing"]
    assert (timing["method"], timing["threads"]) == (method, 1)
    assert all(
        timing[side]["processor"]["median_ms"] > 0 for side in ("before", "after")
    )
    assert all(timing[side]["runs"] >= 1 for side in ("before", "after"))


@pytest.mark.parametrize("most_bytes", [2**30, 1000])
@pytest.mark.parametrize(
    "name",
    ["plain.onnx", pytest.param("plain.traced.pt", marks=pytest.mark.slow)],
)
def test_both_models_are_timed_on_the_threads_that_the_user_says(
    tmp_path, monkeypatch, name, most_bytes
):
    monkeypatch.setattr(verifying, "_MOST_BYTES_TOGETHER", most_bytes)
    threads = []

    def loaded(*arguments):
        threads.append(model_threads())
        return load_runner(*arguments)

    monkeypatch.setattr(verifying, "load_runner", loaded)
    options = {"flops_budget": "50%", "calibration": "none", "threads": 2}
    _, report, _ = compressed(tmp_path, name, **options)
    # outputs are compared on one thread
    assert sorted(threads) == [1, 1, 2, 2]
    assert report["timing"]["threads"] == 2


def test_on_a_busy_host_the_report_gives_no_time_by_the_clock(tmp_path, monkeypatch):
    processor = Spread(2.0, 1.9, 2.1)

    def timed(clock):
        times = RunTimes(15, clock, processor)
        monkeypatch.setattr(
            verifying, "time_in_turn", lambda runners, *_: (times,) * len(runners)
        )
        _, report, _ = compressed(
            tmp_path, "plain.onnx", flops_budget="50%", calibration="none"
        )
        return report

    busy = timed(Spread(4.0, 3.9, 4.1))
    assert busy["timing"]["busy"]
    assert "2.0 times" in busy["timing"]["note"]
    assert busy["timing"]["after"]["clock"] is busy["after"]["latency_ms"] is None
    assert busy["timing"]["after"]["processor"]["median_ms"] == 2.0
    quiet = timed(processor)
    assert not quiet["timing"]["busy"]
    assert quiet["timing"]["note"] is None
    assert (
        quiet["before"]["latency_ms"]
        == quiet["timing"]["before"]["clock"]["median_ms"]
        == 2.0
    )


def with_more(costs):
    return replace(costs, macs=costs.macs + 1, fixed_macs=costs.fixed_macs + 1)


def with_less(objective):
    return replace(objective, budgets=(replace(objective.budgets[0], allowed=1),))
