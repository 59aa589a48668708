"""The kinds of images by the inputs' shapes and by what a model stores."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.kinds import choose_kinds
from worker.engine.calibration.inputs.mosaics import mosaics
from worker.engine.calibration.inputs.photographs import Scenes

RED = Image.new("RGB", (200, 200), (255, 0, 0))
BLACK = Image.new("RGB", (200, 200), (0, 0, 0))
SCENES = Scenes((RED,), (BLACK,), mounted=1, notes=("one cannot be read",))


def kinds_of(*inputs, normalises=False):
    """Return the kinds for inputs `(channels, size)`."""
    images = [SimpleNamespace(channels=channels, size=size) for channels, size in inputs]
    program = SimpleNamespace(normalises=normalises)
    return choose_kinds(SimpleNamespace(images=images, program=program), SCENES)


def are_red(images):
    """Which images are red, in either order of colours."""
    return [bool(np.allclose(np.sort(image.reshape(3, -1).max(1)), [0, 0, 1])) for image in images]


def test_inputs_like_photographs_get_crops_and_are_judged_by_others_and_mosaics():
    kinds = kinds_of((3, (32, 32)))
    assert are_red(kinds.fitting(4, 3, (32, 32), 0)) == [True] * 4
    judging = kinds.judging(4, 3, (32, 32), 0)
    assert [bool(image.any()) for image in judging] == [True, False, True, False]
    assert (judging[::2] == mosaics(2, 3, (32, 32), 0)).all()
    assert kinds.report_members == {
        "images_from": "crops of photographs, since the inputs have their shape",
        "photographs": 2,
        "photographs_mounted": 1,
    }
    assert kinds.notes == ("one cannot be read",)


def test_a_model_that_stores_statistics_is_fitted_on_leaves_and_judged_by_crops_too():
    kinds = kinds_of((3, (32, 32)), normalises=True)
    assert (kinds.fitting(4, 3, (32, 32), 0) == dead_leaves(4, 3, (32, 32), 0)).all()
    judging = kinds.judging(4, 3, (32, 32), 0)
    assert [bool(image.any()) for image in judging] == [True, False, True, False]
    assert kinds.report_members["photographs"] == 1


@pytest.mark.parametrize("size", [(49, 10), (400,), (8, 16, 16), (28, 28)])
def test_other_inputs_get_synthetic_images(size):
    kinds = kinds_of((1, size))
    assert (kinds.fitting(2, 1, size, 5) == dead_leaves(2, 1, size, 5)).all()
    assert (kinds.judging(2, 1, size, 5) == mosaics(2, 1, size, 5)).all()
    assert "no input has the shape of photographs" in kinds.report_members["images_from"]


def test_of_two_inputs_each_gets_what_its_shape_asks_for():
    kinds = kinds_of((3, (32, 32)), (6, (10,)))
    assert are_red(kinds.fitting(2, 3, (32, 32), 0)) == [True, True]
    assert (kinds.fitting(2, 6, (10,), 1) == dead_leaves(2, 6, (10,), 1)).all()


def test_images_with_soft_edges_are_crops_too_and_a_double_size_makes_no_scene_of_digits():
    softened_kinds = kinds_of((3, (32, 32)))
    assert are_red(softened_kinds.fitting(2, 3, (64, 64), 0)) == [True, True]
    digits = kinds_of((1, (28, 28)))
    assert (digits.fitting(2, 1, (56, 56), 0) == dead_leaves(2, 1, (56, 56), 0)).all()
