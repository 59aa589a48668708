"""The gate of a child process prints one message for each file."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from convpress.limits import Limits
from worker.sandbox import gate

MODEL = Path(__file__).parents[3] / "models" / "plain.onnx"


@pytest.fixture
def check(capsys):
    def run(model_format, **limits):
        gate.main(model_format, str(MODEL), json.dumps(asdict(Limits(**limits))))
        return json.loads(capsys.readouterr().out)

    return run


def test_a_safe_file_succeeds(check):
    assert check("onnx") == {"event": "succeeded"}


def test_a_refusal_is_a_message(check):
    message = check("onnx", nodes=3)
    assert message["event"] == "failed"
    assert message["error"]["code"] == "model_over_limit"
    assert "too many nodes" in message["error"]["detail"]
