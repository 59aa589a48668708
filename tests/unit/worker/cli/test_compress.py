"""The command that compresses a file."""

import json
import zipfile

import onnx
import pytest
from support.onnx import text as onnx_text
from support.service import fake_engine

from convpress.report import Report
from worker import offline
from worker.sandbox.messages import Failed
from worker.sandbox.run import Lost, TimedOut


@pytest.mark.parametrize(
    "command", [["compress", "--flops-budget", "0.5"], ["inspect"]]
)
def test_a_model_of_another_format_is_named(run, tmp_path, no_engine, command):
    path = tmp_path / "model.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    done = run(*command, path)
    assert done.exit_code == 1
    assert (
        "model_unsupported: the file is an HDF5 file, as Keras writes it" in done.stderr
    )
    assert "tf2onnx" in done.stderr


@pytest.mark.parametrize(
    "command", [["compress", "--flops-budget", "0.5"], ["inspect"]]
)
def test_what_is_no_model_is_refused_without_an_engine(
    run, tmp_path, no_engine, command
):
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


def test_weights_beside_a_model_are_taken_with_it(run, tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    proto = onnx_text.model(
        "g (float[2] x) => (float[2] y) <float[2] w> { y = Add(x, w) }"
    )
    onnx.save(
        proto, path, save_as_external_data=True, location="net.data", size_threshold=0
    )
    members = []

    def engine(_command, arguments, *_, **__):
        request = json.loads(arguments[-1])
        members.extend(zipfile.ZipFile(request["model"]).namelist())
        assert request["output"].endswith(".onnx")
        return Lost("a test", "")

    monkeypatch.setattr(offline.sandbox, "run", engine)
    run("compress", path, "--flops-budget", "0.5")
    assert members == ["net.onnx", "net.data"]


@pytest.mark.parametrize(
    "command", [["compress", "--flops-budget", "0.5"], ["inspect"]]
)
def test_a_refusal_is_json_where_json_is_asked_for(run, tmp_path, no_engine, command):
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    done = run(*command, path, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["code"] == "model_unrecognised"
    assert "model_unrecognised" in done.stderr


def test_a_report_is_json_where_json_is_asked_for(run, model, monkeypatch):
    record = Report.model_validate_json(json.dumps(fake_engine.REPORT))
    monkeypatch.setattr(offline, "compress", lambda *_, **__: record)
    done = run("compress", model, "--flops-budget", "0.5", "--json")
    assert json.loads(done.stdout)["keep"] == fake_engine.REPORT["keep"]
