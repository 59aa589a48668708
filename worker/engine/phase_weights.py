"""How long the phases of a job take beside each other, by the kind of its work.

A unit is about one run of the model on each of the images that the layers are fitted to. The
weights are rough: they were set by the shares that `benchmarks/phases.py` prints, of ResNet-20,
MobileNetV1 and SqueezeNet where calibrated, and of ResNet-50 and VGG-16 by the weights alone, where
smaller networks take a second. Networks with few images, or whose phases run on other sizes than
usual, take other shares.
"""

from collections.abc import Mapping
from math import prod, sqrt

from convpress.phases import Phase

Weights = Mapping[Phase, float]
"""The weight of each phase, or of some."""

CALIBRATED: Weights = {
    "loading": 1.0,
    "measuring": 20.0,
    "factoring": 1.0,
    "allocating": 4.0,
    "refining": 11.0,
    "rewriting": 0.15,
    "verifying": 0.6,
    "storing": 0.1,
}
"""A job that is calibrated; `measuring` is weighed anew when its work is known."""

CHOSEN: Weights = {"allocating": 0.0}
"""What is left of a calibrated job that has an earlier analysis."""

BY_WEIGHTS: Weights = {
    "measuring": 0.0,
    "allocating": 0.0,
    "factoring": 12.0,
    "refining": 2.4,
    "rewriting": 1.3,
    "verifying": 3.6,
    "storing": 0.1,
}
"""A job that nothing is measured for."""

CHOSEN_BY_WEIGHTS: Weights = {
    "allocating": 0.0,
    "refining": 4.6,
    "rewriting": 1.4,
    "verifying": 3.8,
    "storing": 0.1,
}
"""What is left of such a job that has an earlier analysis."""

RANGES_OF_FACTORED: Weights = {"allocating": 2.0}
"""What is left of allocating where ranges of int8 are measured; weighed anew on the way."""

INT8_ALONE: Weights = {
    "measuring": 1.33,
    "factoring": 0.0,
    "allocating": 0.0,
    "refining": 0.0,
    "rewriting": 0.83,
    "verifying": 0.17,
    "storing": 0.03,
}
"""A job that measures ranges and factors no layer."""


def factoring_work(weight_shape: tuple[int, ...]) -> float:
    """Return the work to factor a layer's weights, in a unit of its own.

    In ResNet-50 and VGG-16 it grows about as the root of their number. Layers of several offsets
    have several forms, and take some three times as long as others of that size.
    """
    forms = 3 if prod(weight_shape[2:]) > 1 else 1
    return forms * sqrt(prod(weight_shape))
