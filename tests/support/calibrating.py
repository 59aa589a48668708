"""Calibrations that are over in a moment, for tests that ask nothing of how good they are."""

from worker.engine.calibration import calibrate


def calibrate_little(patch):
    """Let as little of everything be done as calibrates at all, as long as the patch lasts."""
    for name in ("_MOST_IMAGES", "_JUDGING_IMAGES"):
        patch.setattr(calibrate, name, 16)
    for name in ("_STEPS_BY_STATISTICS", "_STEPS_BY_CLASSES", "_JUDGING_STEPS", "_FEWEST_STEPS"):
        patch.setattr(calibrate, name, 4)
