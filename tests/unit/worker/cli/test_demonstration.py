"""The sample model of the demonstration."""

from pathlib import Path


def test_the_sample_model_of_the_demonstration_is_shipped():
    assert Path("tests/models/residual.onnx").is_file()
