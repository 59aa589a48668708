"""The inputs to judge an artifact by: of the model's own shapes, and such that outputs speak."""

import numpy as np
import pytest
import torch
from support.engine.calibrations import RNG, A, of, pooled
from support.engine.programs import layer

from convpress.calibration import InputValues
from worker.engine.calibration.fitting_images import FittingImages
from worker.engine.calibration.judging_inputs import judging_by_samples
from worker.engine.calibration.statistics.covariance import MeasuredMoments
from worker.engine.model import TensorSpec


def test_inputs_to_judge_by_are_of_the_models_own_shapes_whatever_was_calibrated_on():
    shape = (2, 3, 128, 128)
    calibration = of(("a", A), shape=shape, stated=InputValues((0.0, 1.0), None, None))
    assert calibration.batches[0]["v0"].shape[2:] == (64, 64)
    specs = [TensorSpec("v0", "float16", None)]
    [inputs] = calibration.judging.run_inputs(specs, {"v0": shape}, 5).groups.values()
    images = [each["v0"] for each in inputs]
    assert [(each.shape, each.dtype) for each in images] == [(shape, np.float16)] * 5
    np.testing.assert_array_equal(images[0][..., :64, :64], images[0][..., 64:, 64:])
    assert not np.array_equal(inputs[0]["v0"], inputs[1]["v0"])


def detector(bias):
    """Parts of a map of probabilities, whose size the bias tells."""
    last = layer(RNG(2), (1, 4, 1, 1))
    return ("a", A), torch.relu, ("b", last), lambda x: torch.sigmoid(x + bias)


def test_a_detector_that_finds_nothing_is_shown_objects_and_judged_by_inner_activations():
    calibration = of(*detector(-12.0), stated=InputValues((0.0, 1.0), None, None))
    assert (
        "text, faces and things are drawn" in calibration.report_members["images_from"]
    )
    assert calibration.judging.quiet
    assert calibration.judged_program.outputs == ("v2",)


def test_a_model_whose_outputs_speak_is_judged_by_them():
    calibration = of(*detector(0.0), stated=InputValues((0.0, 255.0), None, None))
    assert "text" not in calibration.report_members["images_from"]
    assert not calibration.judging.quiet
    assert calibration.judged_program is calibration.program


def test_of_one_channel_nothing_tells_whether_they_are_pictures_unless_pictures_come_out():
    grey = layer(RNG(1), (4, 1, 3, 3), padding=1)
    stated = InputValues((0.0, 1.0), None, None)
    classifier = of(
        ("a", grey), torch.relu, pooled, shape=(1, 1, 32, 40), stated=stated
    )
    assert any(
        "pictures or spectrograms" in doubt for doubt in classifier.judging.doubts
    )
    back = layer(RNG(1), (1, 4, 3, 3), padding=1)
    denoiser = of(
        ("a", grey), torch.relu, ("b", back), shape=(1, 1, 32, 40), stated=stated
    )
    assert not denoiser.judging.doubts


@pytest.mark.parametrize(("count", "doubted"), [(0, "fitted"), (7, "7"), (8, None)])
def test_few_held_out_samples_are_a_doubt(count, doubted):
    held_out = [{"v0": torch.zeros(1)}] * count
    members = {"held_out_samples": count}
    fitting = FittingImages([], MeasuredMoments({}, {}), members, held_out)
    doubts = judging_by_samples(fitting, None).doubts
    assert [doubted in doubt for doubt in doubts] == [True] * (doubted is not None)
