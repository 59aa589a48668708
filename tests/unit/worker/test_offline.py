"""The engine without a service: options are checked first, and files appear whole or not at all."""

import json
from pathlib import Path

import pytest
from support.service import fake_engine

from convpress.options import JobOptions
from worker import offline
from worker.offline import LostError, OfflineJob, RefusedError
from worker.sandbox.messages import Failed, Succeeded
from worker.sandbox.run import Lost, TimedOut

ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])
JOB = OfflineJob(JobOptions({"flops_budget": "0.5"}))


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(ONNX)
    return path


@pytest.fixture
def engine(monkeypatch):
    """Let the engine end by an outcome, after it has written an artifact and an account."""

    check = offline.sandbox.run

    def answer(outcome, artifact=ONNX, account=fake_engine.REPORT):
        def run(command, arguments, *others, **options):
            if command != offline.ENGINE:  # the gate, which looks at the artifact
                return check(command, arguments, *others, **options)
            request = json.loads(arguments[-1])
            if request["output"]:
                Path(request["output"]).write_bytes(artifact)
            Path(request["report"]).write_text(json.dumps(account))
            return outcome

        monkeypatch.setattr(offline.sandbox, "run", run)
        monkeypatch.setattr(offline.doctor, "require", lambda _: None)

    return answer


def test_a_model_is_measured_by_a_file_or_by_a_command():
    scorer = offline.read_scorer("score {model}", lower_is_better=False, seconds=None)
    with pytest.raises(RefusedError, match="not by both") as refused:
        offline.read_options(
            {"max_loss": "1%"},
            None,
            needs_budget=True,
            evaluation=Path("e.npz"),
            scorer=scorer,
        )
    assert refused.value.members["code"] == "evaluation_invalid"


@pytest.mark.parametrize("needs_budget", [True, False])
def test_something_else_may_take_the_place_of_a_budget(needs_budget):
    if needs_budget:
        with pytest.raises(RefusedError) as refused:
            offline.read_options({}, None, needs_budget=True)
        assert refused.value.members["code"] == "budget_missing"
        return
    options = offline.read_options({}, Path("s.npz"), needs_budget=False)
    assert options.calibration == "samples"


def test_no_command_measures_nothing():
    assert offline.read_scorer(None, lower_is_better=False, seconds=None) is None
    with pytest.raises(RefusedError):
        offline.read_scorer("no place", lower_is_better=False, seconds=None)


def test_artifact_and_report_appear_whole(model, engine):
    engine(Succeeded())
    artifact, report = model.with_name("out.onnx"), model.with_name("report.json")
    account = offline.compress(model, artifact, report, JOB)
    assert account.sites[0].name == "conv1"
    assert artifact.read_bytes() == ONNX
    assert json.loads(report.read_text()) == fake_engine.REPORT
    assert {path.name for path in model.parent.iterdir()} == {
        "net.onnx",
        "out.onnx",
        "report.json",
    }


REFUSAL = {"code": "budget_unreachable", "detail": "no", "got": "0.1"}


@pytest.mark.parametrize(
    ("outcome", "error", "reason"),
    [
        (Failed(REFUSAL), RefusedError, "no"),
        (Lost("killed by signal 9", "the log"), LostError, "signal 9\nthe log"),
        (TimedOut(1.0), LostError, "not done after"),
    ],
)
def test_an_engine_that_ends_badly_leaves_no_file(
    model, engine, outcome, error, reason
):
    engine(outcome)
    with pytest.raises(error, match=reason):
        offline.compress(model, model.with_name("out.onnx"), None, JOB)
    assert list(model.parent.iterdir()) == [model]


@pytest.mark.parametrize(
    "written", [{"artifact": b"junk"}, {"account": {}}], ids=["artifact", "account"]
)
def test_what_no_engine_would_write_is_not_kept(model, engine, written):
    engine(Succeeded(), **written)
    with pytest.raises(LostError):
        offline.compress(model, model.with_name("out.onnx"), None, JOB)
    assert list(model.parent.iterdir()) == [model]


def test_an_advice_keeps_nothing(model, engine):
    engine(Succeeded(), account=fake_engine.ADVICE)
    advice = offline.advise(model, JobOptions({}), None)
    assert advice.choice == fake_engine.ADVICE["choice"]
    assert list(model.parent.iterdir()) == [model]


def test_what_is_no_model_is_refused_before_the_engine_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(offline.sandbox, "run", lambda *_, **__: pytest.fail("started"))
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    with pytest.raises(RefusedError) as refused:
        offline.inspect(text, None)
    assert refused.value.members["code"] == "model_unrecognised"
