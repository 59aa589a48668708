"""An artifact is checked in a process that can be ended, so that the worker always goes on."""

import sys
import threading
import time
from pathlib import Path

import pytest

from convpress.limits import Limits
from worker.sandbox import gate, outputs
from worker.sandbox.messages import MalformedOutput

MODELS = Path(__file__).parents[3] / "models"
# A call into C that holds the interpreter's lock and does not return.
ENDLESS = "import re; re.match('(a+)+$', 'a' * 60 + 'b')"


def replace_gate(monkeypatch, code):
    monkeypatch.setattr(gate, "COMMAND", (sys.executable, "-c", code))


@pytest.mark.parametrize("name", ["plain.onnx", "plain.scripted.pt"])
def test_a_model_passes_as_an_upload_would(name):
    model_format = "onnx" if name.endswith(".onnx") else "torchscript"
    outputs.check_artifact(MODELS / name, model_format, Limits())


def test_what_would_be_refused_as_an_upload_is_no_artifact():
    with pytest.raises(MalformedOutput, match="too many nodes"):
        outputs.check_artifact(MODELS / "plain.onnx", "onnx", Limits(nodes=3))
    with pytest.raises(MalformedOutput, match="is onnx, not torchscript"):
        outputs.check_artifact(MODELS / "plain.onnx", "torchscript", Limits())


def test_a_check_without_end_is_ended_and_holds_nothing_up(monkeypatch):
    replace_gate(monkeypatch, ENDLESS)
    monkeypatch.setattr(outputs, "_CHECK_SECONDS", 3.0)
    beats = []
    stopping = threading.Event()

    def beat():
        while not stopping.wait(0.1):
            beats.append(time.monotonic())

    heart = threading.Thread(target=beat)
    heart.start()
    with pytest.raises(MalformedOutput, match="did not end"):
        outputs.check_artifact(MODELS / "plain.onnx", "onnx", Limits())
    stopping.set()
    heart.join()
    assert len(beats) >= 5


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.abort()",
        "b = [bytes(10**9) for _ in range(100)]",
        "print('no json')",
    ],
)
def test_a_check_that_dies_says_nothing_of_the_artifact(monkeypatch, code):
    replace_gate(monkeypatch, code)
    with pytest.raises(MalformedOutput):
        outputs.check_artifact(MODELS / "plain.onnx", "onnx", Limits())
