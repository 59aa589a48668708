"""The command that compresses a file."""

import pytest

from worker import offline
from worker.sandbox.messages import Failed
from worker.sandbox.run import Lost, TimedOut


@pytest.mark.parametrize("command", [["compress", "--flops-budget", "0.5"], ["inspect"]])
def test_a_model_of_another_format_is_named(run, tmp_path, no_engine, command):
    path = tmp_path / "model.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    done = run(*command, path)
    assert done.exit_code == 1
    assert "model_unsupported: the file is an HDF5 file, as Keras writes it" in done.stderr
    assert "tf2onnx" in done.stderr


@pytest.mark.parametrize("command", [["compress", "--flops-budget", "0.5"], ["inspect"]])
def test_what_is_no_model_is_refused_without_an_engine(run, tmp_path, no_engine, command):
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    done = run(*command, path)
    assert done.exit_code == 1
    assert "model_unrecognised" in done.stderr
    assert "expected: an ONNX model" in done.stderr


OUTCOMES = {
    "refused": (
        Failed({"code": "budget_unreachable", "detail": "no\x1b[31m", "got": "0.1"}),
        1,
        "got: 0.1",
    ),
    "lost": (Lost("it was killed by signal 9", "the log"), 3, "signal 9"),
    "timed out": (TimedOut(1.0), 3, "not done"),
}


@pytest.mark.parametrize(("outcome", "status", "text"), OUTCOMES.values(), ids=OUTCOMES)
def test_an_engine_that_ends_badly_leaves_no_file_and_says_why(
    run, model, monkeypatch, outcome, status, text
):
    monkeypatch.setattr(offline.sandbox, "run", lambda *_, **__: outcome)
    done = run("compress", model, "--flops-budget", "0.5")
    assert done.exit_code == status
    assert text in done.stderr
    assert "\x1b[31m" not in done.stderr
    assert list(model.parent.iterdir()) == [model]
