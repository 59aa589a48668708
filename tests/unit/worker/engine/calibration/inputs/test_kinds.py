"""The kinds of inputs by their shapes and by what a model stores."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from support.engine.programs import chained

from convpress.calibration import InputValues
from worker.engine.calibration.effort import DEFAULT_EFFORT
from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.generators import softened
from worker.engine.calibration.inputs.kinds import choose_kinds, showing_objects
from worker.engine.calibration.inputs.mosaics import mosaics
from worker.engine.calibration.inputs.photographs import Scenes
from worker.engine.calibration.inputs.sensors.sounds import other_sounds, sounds
from worker.engine.calibration.inputs.sensors.spectrograms import spectrograms
from worker.engine.calibration.run_size import build_harness
from worker.engine.model import TensorSpec
from worker.engine.program import Norm

RED = Image.new("RGB", (200, 200), (255, 0, 0))
BLACK = Image.new("RGB", (200, 200), (0, 0, 0))
SCENES = Scenes((RED,), (BLACK,), mounted=1, notes=("one cannot be read",))


def kinds_of(*inputs, normalises=False):
    """Return the kinds for inputs `(channels, size)`."""
    images = [
        SimpleNamespace(channels=channels, size=size, rows=None, is_whole=False)
        for channels, size in inputs
    ]
    program = SimpleNamespace(normalises=normalises)
    return choose_kinds(SimpleNamespace(images=images, program=program), SCENES)


def are_red(images):
    """Which images are red, in either order of colours."""
    return [
        bool(np.allclose(np.sort(image.reshape(3, -1).max(1)), [0, 0, 1]))
        for image in images
    ]


def test_inputs_like_photographs_get_crops_and_are_judged_by_others_and_mosaics():
    kinds = kinds_of((3, (32, 32)))
    assert are_red(kinds.fitting(4, 3, (32, 32), 0)) == [True] * 4
    judging = kinds.judging(8, 3, (32, 32), 0)
    # the first two have soft edges and the next ones none, and so on
    assert [bool(image.any()) for image in judging] == [True, True, False, False] * 2
    assert (judging[1::4] == mosaics(2, 3, (32, 32), 0)).all()
    assert (
        kinds.probing(4, 3, (32, 32), 0) == softened(dead_leaves)(4, 3, (32, 32), 0)
    ).all()
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


@pytest.mark.parametrize("size", [(128,), (8, 16, 16), (28, 28)])
def test_other_inputs_get_synthetic_images(size):
    kinds = kinds_of((1, size))
    assert (kinds.fitting(2, 1, size, 5) == softened(dead_leaves)(2, 1, size, 5)).all()
    assert (kinds.judging(2, 1, size, 5) == softened(mosaics)(2, 1, size, 5)).all()
    assert (
        "no input has the shape of photographs" in kinds.report_members["images_from"]
    )
    assert next(values.name for values in kinds.ranges) == "0 to 1"


def test_inputs_like_spectrograms_get_sounds_without_soft_edges():
    shape = 40, (60,)
    kinds = kinds_of(shape)
    own, others = spectrograms(sounds), spectrograms(other_sounds)
    assert (kinds.fitting(2, *shape, 5) == own(2, *shape, 5)).all()
    assert (kinds.judging(2, *shape, 5) == others(2, *shape, 5)).all()
    assert (kinds.probing(2, *shape, 5) == own(2, *shape, 5)).all()
    assert kinds.report_members == {
        "images_from": "spectrograms of synthetic sounds, by the shape of the input"
    }
    names = [values.name for values in kinds.ranges]
    assert names[:3] == ["decibels of -80 to 0", "logarithms of -14 to 8", "0 to 1"]
    assert kinds.notes == ()


def test_of_two_inputs_each_gets_what_its_shape_asks_for():
    kinds = kinds_of((3, (32, 32)), (40, (60,)))
    assert are_red(kinds.fitting(2, 3, (32, 32), 0)) == [True, True]
    assert (
        kinds.fitting(2, 40, (60,), 1) == spectrograms(sounds)(2, 40, (60,), 1)
    ).all()
    assert kinds.report_members["images_from"] == (
        "crops of photographs, since the inputs have their shape; "
        "spectrograms of synthetic sounds, by the shape of the input"
    )


def test_indices_and_bytes_are_no_sounds():
    words = SimpleNamespace(channels=1, size=(49, 10), rows=100, is_whole=True)
    harness = SimpleNamespace(images=[words], program=SimpleNamespace(normalises=False))
    assert (
        "synthetic images"
        in choose_kinds(harness, SCENES).report_members["images_from"]
    )


def storing(values):
    """A harness of a model for one spectrogram, whose statistics are those of these values."""
    mean, variance = torch.tensor([values.mean()]), torch.tensor([values.var()])
    norm = Norm(mean, variance, torch.ones(1), torch.zeros(1), 1e-5)
    program = chained(norm, lambda x: x.mean((2, 3)))
    specs = [TensorSpec("v0", "float32", None)]
    return build_harness(program, specs, {"v0": (1, 1, 40, 80)}, DEFAULT_EFFORT)


def test_stored_statistics_tell_which_of_several_kinds_it_is():
    tables = spectrograms(sounds)(32, 1, (40, 80), 9)
    of_sounds = choose_kinds(storing(80 * tables - 80), SCENES, probes=8)
    reason = of_sounds.report_members["images_from"]
    assert reason.startswith(
        "spectrograms of synthetic sounds, by the shape of the input; no other"
    )
    leaves = dead_leaves(32, 1, (40, 80), 9)
    of_shapes = choose_kinds(storing(leaves), SCENES, probes=8)
    reason = of_shapes.report_members["images_from"]
    assert reason.startswith("synthetic shapes, whose statistics are far nearer")
    assert (
        of_shapes.fitting(2, 1, (40, 80), 0) == dead_leaves(2, 1, (40, 80), 0)
    ).all()


def test_in_a_stated_range_the_kinds_are_compared_there():
    stated = InputValues((-80.0, 0.0), None, None)
    tables = dead_leaves(32, 1, (40, 80), 9)
    kinds = choose_kinds(storing(80 * tables - 80), SCENES, stated, probes=8)
    assert kinds.report_members["images_from"].startswith("synthetic shapes")


def test_objects_are_drawn_into_half_of_the_photographs_and_into_nothing_else():
    inputs = [(3, (32, 32)), (40, (60,))]
    images = [
        SimpleNamespace(channels=channels, size=size, rows=None, is_whole=False)
        for channels, size in inputs
    ]
    harness = SimpleNamespace(images=images, program=SimpleNamespace(normalises=False))
    plain = choose_kinds(harness, SCENES)
    shown = showing_objects(harness, plain)
    before, after = plain.fitting(3, 3, (32, 32), 0), shown.fitting(6, 3, (32, 32), 0)
    assert are_red(after[1::2]) == [True] * 3
    assert are_red(before) == [True] * 3
    assert are_red(after[::2]) == [False] * 3
    assert (shown.judging(2, 40, (60,), 0) == plain.judging(2, 40, (60,), 0)).all()
    assert "text, faces and things are drawn" in shown.report_members["images_from"]
    sounds_alone = SimpleNamespace(images=images[1:], program=harness.program)
    kinds = choose_kinds(sounds_alone, SCENES)
    assert showing_objects(sounds_alone, kinds) is kinds
