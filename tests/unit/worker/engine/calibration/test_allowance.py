"""The work that a calibration may take: more images and steps for a larger model."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from worker.engine.calibration.allowance import Allowance
from worker.engine.calibration.effort import RANGES_EFFORT, Effort

SHAPE = (1, 3, 16, 16)


def harness(*, normalises=False, gradient_input="v0"):
    return SimpleNamespace(
        shapes={"v0": SHAPE},
        image_names=["v0"],
        images=[SimpleNamespace(name="v0", channels=3)],
        program=SimpleNamespace(normalises=normalises),
        gradient_input=gradient_input,
    )


@pytest.mark.parametrize(
    ("macs", "images"), [(10**3, 192), (3 * 10**7, 300), (10**8, 384)]
)
def test_a_larger_model_gets_more_images(macs, images):
    assert Allowance(harness(), macs, Effort()).measured_images == images


def test_no_more_images_than_the_most_than_memory_holds_or_than_the_work_pays_for():
    few = Allowance(harness(), 10**3, Effort(most_images=64))
    assert few.measured_images == 64
    small = Effort(image_bytes=100 * 3 * 16 * 16 * 4)
    assert Allowance(harness(), 10**3, small).measured_images == 100
    costly = Allowance(harness(), 10**7, Effort(image_macs=6 * 10**7 * 50))
    assert costly.measured_images == 50
    # a dearer image never leaves none
    effort = Effort(image_macs=1)
    assert Allowance(harness(), 10**7, effort).measured_images == effort.fewest_images


def test_the_cost_of_an_image_is_that_at_the_size_at_which_it_runs():
    allowance = Allowance.of(harness(), 8_000, {"v0": (2, 3, 32, 32)}, Effort())
    # one of two samples, at a quarter of the positions
    assert allowance.sample_macs == 1_000


def test_plain_images_join_distilled_ones_unless_the_model_stores_statistics():
    effort = Effort(images_beside_distilled=192)
    assert Allowance(harness(), 10**3, effort).plain_images(128) == 64
    assert Allowance(harness(), 10**3, effort).plain_images(500) == 0
    normalising = harness(normalises=True)
    assert Allowance(normalising, 10**3, effort).plain_images(128) == 0


def test_ranges_are_measured_on_as_many_distilled_images_as_plain_ones():
    small = Allowance(harness(), 10**3, RANGES_EFFORT)
    assert small.affordable_steps
    assert small.distilled_images(5) == small.plain_images(64) == 64
    # a job in int8 alone takes seconds
    assert not Allowance(harness(), 10**9, RANGES_EFFORT).affordable_steps


def test_steps_are_those_of_the_effort_where_affordable_and_none_where_too_few():
    effort = Effort()
    normalising = harness(normalises=True)
    cheap = Allowance(normalising, 1, effort)
    assert cheap.distilling_steps([]) == effort.steps_by_statistics
    step = 3 * effort.fewest_distilled
    enough = replace(effort, image_macs=step * effort.fewest_steps)
    assert Allowance(normalising, 1, enough).distilling_steps([]) == effort.fewest_steps
    too_few = replace(effort, image_macs=step * effort.fewest_steps - 1)
    assert Allowance(normalising, 1, too_few).distilling_steps([]) == 0
    without = harness(normalises=True, gradient_input=None)
    assert Allowance(without, 1, effort).distilling_steps([]) == 0
