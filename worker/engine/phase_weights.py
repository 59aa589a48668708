"""How long the phases of a job take beside each other, by the kind of its work.

A unit is about one run of the model on each of the images that the layers are fitted to. The
weights are rough: they were set by the seconds in the reports of ResNet-20 with and without
BatchNorm, MobileNetV1, ResNet-18, ResNet-50, VGG-16 and the models of `tests/models`. Networks with
few images, or whose phases run on other sizes than usual, take other shares.
"""

from collections.abc import Mapping

from convpress.phases import Phase

Weights = Mapping[Phase, float]
"""The weight of each phase, or of some."""

CALIBRATED: Weights = {
    "loading": 1.0,
    "measuring": 20.0,
    "factoring": 1.0,
    "allocating": 4.0,
    "refining": 11.0,
    "rewriting": 0.2,
    "verifying": 1.0,
    "storing": 0.2,
}
"""A job that is calibrated; `measuring` is weighed anew when its work is known."""

CHOSEN: Weights = {"allocating": 0.0}
"""What is left of a job that has an earlier analysis."""

BY_WEIGHTS: Weights = {
    "measuring": 0.0,
    "allocating": 0.0,
    "factoring": 11.0,
    "refining": 2.5,
    "rewriting": 1.0,
    "verifying": 4.0,
    "storing": 0.1,
}
"""A job that nothing is measured for."""

INT8_ALONE: Weights = {
    "measuring": 10.0,
    "factoring": 0.0,
    "allocating": 0.0,
    "refining": 0.0,
    "rewriting": 8.0,
    "verifying": 1.5,
    "storing": 0.2,
}
"""A job that measures ranges and factors no layer."""
