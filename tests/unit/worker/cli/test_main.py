"""The command line refuses what it could not or should not do before it does anything, by the names
that users know.
"""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--flops-budget", "0.5", "--rank", "2"],
        ["--flops-budget", "0.5", "--cost-table", "{folder}/none.json"],
        ["--flops-budget", "0.5", "--output", "{model}"],
    ],
)
def test_wrong_usage_is_said_before_any_work(run, model, no_engine, options):
    content = model.read_bytes()
    arguments = [option.format(model=model, folder=model.parent) for option in options]
    done = run("compress", model, *arguments)
    assert done.exit_code == 2, done.output
    assert model.read_bytes() == content


def test_a_model_that_is_not_there_is_wrong_usage(run, tmp_path):
    assert (
        run("compress", tmp_path / "none.onnx", "--flops-budget", "0.5").exit_code == 2
    )
    assert run("inspect", tmp_path).exit_code == 2


def test_the_command_starts_without_what_it_does_not_need():
    heavy = {"celery", "fastapi", "sqlalchemy", "httpx"}
    code = f"import sys, worker.cli.main; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "command", ["submit", "compress", "jobs", "cost-table collect"]
)
def test_the_names_of_options_fit_a_terminal_of_80_columns(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    assert "…" not in run(*command.split(), "--help").stdout


def test_a_misspelt_precision_is_refused_with_what_is_meant(run, model, no_engine):
    done = run("compress", model, "--precision", "in8")
    assert done.exit_code == 1
    assert "precision_invalid: 'in8' is no precision: did you mean int8?" in done.stderr
