"""The demonstration finds its sample, and measures accuracy as the models' own tests do."""

from pathlib import Path

import pytest
from digits import MODELS, accuracy

from worker.cli import demonstration


def test_accuracy_is_that_of_both_files_on_the_digits_that_training_has_not_seen(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    measured = demonstration.measure(MODELS / "plain.onnx", MODELS / "residual.onnx")
    assert measured.images == 450
    assert measured.before == round(450 * accuracy(MODELS / "plain.onnx"))
    assert measured.after == round(450 * accuracy(MODELS / "residual.onnx"))
    # the runtime's telemetry would note the host there
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_test_images_beside_it_has_no_accuracy(tmp_path):
    model = tmp_path / "net.onnx"
    model.write_bytes((MODELS / "plain.onnx").read_bytes())
    assert demonstration.measure(model, model) is None


def test_a_file_that_cannot_be_run_ends_the_demonstration_with_the_reason(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(
        demonstration.DemonstrationError, match="accuracy could not be measured"
    ):
        demonstration.measure(MODELS / "plain.onnx", broken)


def test_samples_are_sent_only_where_they_lie_beside_the_model(tmp_path):
    assert demonstration.beside(MODELS / "plain.onnx", "digits_samples.npz").is_file()
    assert (
        demonstration.beside(Path(tmp_path / "net.onnx"), "digits_samples.npz") is None
    )
