"""Calibrations of little effort, for tests that do not depend on how good they are."""

from dataclasses import replace
from functools import partial

from worker.engine.calibration import calibrate
from worker.engine.calibration.effort import DEFAULT_EFFORT

LITTLE_EFFORT = replace(
    DEFAULT_EFFORT,
    most_images=16,
    held_out_images=16,
    steps_by_statistics=4,
    steps_by_classes=4,
    held_out_steps=4,
    fewest_steps=4,
)
"""The least that calibrates at all."""


def calibrate_with(patch, effort):
    """Let whole jobs calibrate with this effort, as long as the patch lasts."""
    patch.setattr(calibrate, "calibrate", partial(calibrate.calibrate, effort=effort))


def calibrate_little(patch):
    """Let whole jobs calibrate with as little effort as possible, as long as the patch lasts."""
    calibrate_with(patch, LITTLE_EFFORT)
