"""The engine is asked in its own process, and its answer or its end is what the caller gets."""

import json
import subprocess

import pytest
from support.service import fake_engine

from convpress import EngineLost, EngineMissing, Refusal, compress, inspect, local


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.onnx"
    path.write_bytes(b"model")
    return path


@pytest.fixture
def engine(monkeypatch):
    """Let the engine's process end with an answer, and collect its requests."""
    requests = []

    def answer(stdout, status=0, stderr=""):
        def run(command, **options):
            requests.append(json.loads(options["input"]))
            return subprocess.CompletedProcess(
                command, status, json.dumps(stdout), stderr
            )

        monkeypatch.setattr(local.subprocess, "run", run)
        return requests

    return answer


def test_a_request_has_texts_and_absolute_paths(model, engine):
    requests = engine({"account": fake_engine.REPORT})
    model.with_name("s.npz").touch()
    result = compress(
        "net.onnx", flops_budget=0.5, bytes_budget=1e-05, threads=2, samples="s.npz"
    )
    [request] = requests
    assert request["model"] == str(model)
    assert request["output"] == str(model.with_name("net.convpress.onnx"))
    assert request["samples"] == str(model.with_name("s.npz"))
    assert request["cost_table"] is None
    assert request["fields"] == {
        "flops_budget": "0.5",
        "bytes_budget": "0.00001",
        "threads": "2",
        "flops_at_any_price": "false",
        "allow_incomplete_account": "false",
    }
    assert result.output.name == "net.convpress.onnx"
    assert result.report.sites[0].name == "conv1"


def test_a_refusal_is_raised_as_if_there_were_no_other_process(model, engine):
    engine({"refusal": {"code": "budget_invalid", "detail": "no", "got": "x"}})
    with pytest.raises(Refusal, match="no") as refusal:
        compress(model, flops_budget="x")
    assert (refusal.value.code, refusal.value.got) == ("budget_invalid", "x")


@pytest.mark.parametrize(
    ("answer", "status", "stderr", "reason"),
    [
        ({"lost": "out of memory"}, 0, "", "out of memory"),
        ({}, 1, "Traceback:\n  a line\nKeyError: 7\n", "status 1: KeyError: 7$"),
        ({}, -9, "", "status -9"),
    ],
)
def test_an_engine_that_dies_is_lost(model, engine, answer, status, stderr, reason):
    engine(answer, status, stderr)
    with pytest.raises(EngineLost, match=reason):
        inspect(model)


def test_what_is_missing_is_named_before_a_process_starts(model, engine, monkeypatch):
    requests = engine({})
    with pytest.raises(FileNotFoundError, match=r"none\.onnx"):
        inspect("none.onnx")
    for name in ("samples", "evaluation", "cost_table"):
        with pytest.raises(FileNotFoundError, match=rf"none\.npz, the {name}"):
            compress(model, flops_budget=0.5, **{name: "none.npz"})
    with pytest.raises(FileNotFoundError, match="no folder for the output"):
        compress(model, flops_budget=0.5, output="none/net.onnx")
    monkeypatch.setattr(local, "find_spec", lambda name: None)
    with pytest.raises(EngineMissing, match=r"torch.*pip install"):
        inspect(model)
    assert requests == []
