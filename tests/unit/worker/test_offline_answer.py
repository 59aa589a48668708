"""The engine without a service answers on standard output, and logs on standard error."""

import json
import subprocess
import sys

import pytest
from digits import MODELS

# The doctor warns of root, whoever runs the test; the check itself is another test's.
AS_ROOT = """
import os, runpy, sys
os.geteuid = lambda: 0
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("arguments", "request_json"),
    [
        (
            ["worker.offline_answer"],
            {
                "command": "inspect",
                "model": str(MODELS / "plain.onnx"),
                "input_shape": None,
            },
        ),
        (["worker.cli", "inspect", "--json", str(MODELS / "plain.onnx")], None),
    ],
    ids=["library", "command"],
)
def test_a_warning_does_not_get_into_the_answer(arguments, request_json):
    process = subprocess.run(
        [sys.executable, "-c", AS_ROOT, *arguments],
        input=json.dumps(request_json),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)
    assert "runs as root" in process.stderr
