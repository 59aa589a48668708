"""Outputs that say little, and the activations that stand for them."""

import numpy as np
import pytest
import torch
from support.engine.programs import chained, layer

from worker.engine.calibration.quiet_outputs import are_quiet, inner_program
from worker.engine.program import Program, Step, run

RNG = np.random.default_rng
IMAGES = torch.from_numpy(RNG(0).random((8, 3, 12, 12), np.float32))
BATCHES = [{"v0": IMAGES[:4]}, {"v0": IMAGES[4:]}]


def detector(bias):
    """A map of probabilities, whose size the bias tells."""
    first = layer(RNG(1), (8, 3, 3, 3), padding=1)
    last = layer(RNG(2), (1, 8, 1, 1))
    return chained(
        ("a", first), torch.relu, ("b", last), lambda x: torch.sigmoid(8 * x + bias)
    )


def test_a_map_that_is_nearly_0_on_all_images_says_little():
    assert are_quiet(detector(-60.0), BATCHES)
    assert not are_quiet(detector(0.0), BATCHES)


def scores(*numbers, axis):
    """Scores of classes at each position, with the numbers times the brightness added."""

    def of(x):
        brightness = x.mean(1, keepdim=True)
        logits = torch.cat([brightness * number for number in numbers], 1)
        values = logits.softmax(1)
        return values if axis == 1 else values.movedim(1, -1)

    return chained(of)


@pytest.mark.parametrize("axis", [1, -1])
def test_probabilities_of_classes_say_little_where_one_class_is_certain_everywhere(
    axis,
):
    assert are_quiet(scores(0, 0, 0, axis=axis), BATCHES)
    assert not are_quiet(scores(0, 8, -8, axis=axis), BATCHES)


def test_a_classifier_and_outputs_that_are_no_probabilities_are_not_quiet():
    assert not are_quiet(chained(lambda x: 0 * x.mean((2, 3)) + 0.5), BATCHES)
    assert not are_quiet(chained(lambda x: 0 * x - 5), BATCHES)
    assert not are_quiet(chained(lambda x: x), BATCHES)
    assert not are_quiet(chained(lambda x: x.argmax(1)), BATCHES)


def test_one_output_that_speaks_is_enough():
    silent = Step("Zeros", ("v0",), ("zeros",), lambda x: (0 * x,))
    loud = Step("Same", ("v0",), ("same",), lambda x: (x,))
    both = Program(("v0",), ("zeros", "same"), {}, (silent, loud))
    assert not are_quiet(both, BATCHES)
    assert are_quiet(Program(("v0",), ("zeros",), {}, (silent,)), BATCHES)


def test_inner_activations_are_those_that_the_last_sites_take():
    program = detector(-60.0)
    inner = inner_program(program)
    assert inner.outputs == ("v2",)
    [features] = run(inner, BATCHES[0])
    assert features.shape == (4, 8, 12, 12)
    assert features.std() > 0.1


def test_each_head_has_its_own_and_a_site_before_another_has_none():
    stem = Step("Conv", ("v0",), ("stem",), lambda x: (x,), site="stem")
    boxes = Step("Conv", ("stem",), ("boxes",), lambda x: (x,), site="boxes")
    rectified = Step("Relu", ("stem",), ("rectified",), lambda x: (x,))
    classes = Step("Conv", ("rectified",), ("classes",), lambda x: (x,), site="classes")
    steps = (stem, boxes, rectified, classes)
    program = Program(("v0",), ("boxes", "classes"), {}, steps)
    assert set(inner_program(program).outputs) == {"stem", "rectified"}


def test_a_program_without_sites_stays_as_it_is():
    program = chained(torch.sigmoid)
    assert inner_program(program) is program
