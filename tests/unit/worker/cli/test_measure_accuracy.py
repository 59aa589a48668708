"""The accuracy of a model is the number of its largest scores at the labels."""

import json

import numpy as np
import onnx
import pytest
from support.onnx import text as onnx_text

from worker.cli import measure_accuracy


@pytest.fixture
def model(tmp_path):
    """A classifier whose scores are its inputs."""
    path = tmp_path / "net.onnx"
    proto = onnx_text.model("g (float[n, 3] x) => (float[n, 3] y) { y = Identity(x) }")
    onnx.save(proto, path)
    return path


def test_the_largest_score_names_the_class(model, tmp_path, capsys):
    images = np.eye(3, dtype=np.float32)
    labels = np.array([0, 1, 0])
    assert measure_accuracy.count_correct(model, images, labels) == 2
    np.savez(tmp_path / "test.npz", images=images, labels=labels)
    measure_accuracy.main(str(tmp_path / "test.npz"), str(model), str(model))
    assert json.loads(capsys.readouterr().out) == {"count": 3, "correct": [2, 2]}
