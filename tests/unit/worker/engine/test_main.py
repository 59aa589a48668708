"""The command `wait`: a process imports the engine until its one command comes."""

import json
import re
import subprocess
import sys
from contextlib import contextmanager

import pytest
from digits import MODELS

from worker.engine.request import Request

TORCH = re.compile(r"\| +torch$", re.MULTILINE)
"""The line on the import of torch, which the inspection of an ONNX file does without."""


@pytest.fixture
def command(tmp_path):
    """The command that inspects a model, as JSON."""
    request = Request(
        model=str(MODELS / "plain.onnx"),
        format="onnx",
        output=str(tmp_path / "out.onnx"),
        report=str(tmp_path / "report.json"),
    )
    return json.dumps(["inspect", request.to_json()])


@contextmanager
def waiting():
    """A process that waits, and lists on standard error what it imports."""
    with subprocess.Popen(
        [sys.executable, "-P", "-X", "importtime", "-m", "worker.engine", "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def test_a_command_that_comes_at_once_imports_what_it_needs(command):
    with waiting() as process:
        output, imports = process.communicate(command)
    assert json.loads(output.splitlines()[-1]) == {"event": "succeeded"}
    assert not TORCH.search(imports)


def test_a_command_that_comes_late_meets_the_imported_engine(command):
    with waiting() as process:
        assert any(TORCH.search(line) for line in process.stderr)
        output, _ = process.communicate(command)
    assert json.loads(output.splitlines()[-1]) == {"event": "succeeded"}


def test_without_a_command_the_process_ends_and_says_nothing():
    with waiting() as process:
        output, _ = process.communicate()
    assert (output, process.returncode) == ("", 0)
