"""The command that posts a model sends what was asked for, and names the artifact."""

import json

import pytest

from worker.cli.remote.submit import _default_artifact


def test_only_what_was_asked_for_is_sent(run, model, service):
    report = model.with_name("report.json")
    done = run(
        "submit", model, "--params-budget", "0.6", "--label", "a=b", "--report", report
    )
    assert done.exit_code == 0, done.output
    assert service.options_of("submit") == {
        "idempotency_key": None,
        "params_budget": "0.6",
        "labels": {"a": "b"},
    }
    artifact = model.with_name("net.convpress.onnx")
    assert artifact.read_bytes() == b"artifact"
    assert f"written to {artifact}" in done.stdout
    assert json.loads(report.read_text())["sites"][0]["name"] == "conv1"


@pytest.mark.parametrize(
    "options",
    [["--flops-budget", "0.5"], ["--max-loss", "1%"], ["--precision", "int8"]],
)
def test_a_budget_a_loss_or_int8_is_enough(run, model, service, options):
    done = run("submit", model, *options, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["id"] == str(service.known.id)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--precision", "auto"],
        ["--flops-budget", "0.5", "--label", "a"],
        ["--flops-budget", "0.5", "--output", "{model}"],
    ],
)
def test_wrong_usage_sends_nothing(run, model, service, options):
    arguments = [option.format(model=model) for option in options]
    assert run("submit", model, *arguments).exit_code == 2
    assert service.calls == []


def test_a_model_with_weights_beside_it_comes_back_as_an_archive(model, monkeypatch):
    assert _default_artifact(model).name == "net.convpress.onnx"
    monkeypatch.setattr(
        "worker.cli.remote.submit.weight_files", lambda _: [model.with_suffix(".data")]
    )
    assert _default_artifact(model).name == "net.convpress.zip"
