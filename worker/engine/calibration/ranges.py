"""The values that a model expects its images to have: told by somebody, by the model itself, or guessed and covered.

Synthetic images have values around 0 to 1; a `Range` maps them to what the model was trained on. The wrong one costs
more accuracy than the wrong images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.refusal import Code, Refusal

_COLOURS = 3
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PLAUSIBLE_SPREAD = 15.0
_SHARE_OF_BEST = 0.6


@dataclass(frozen=True)
class Range:
    """Maps an image `u` of values 0 to 1 to `(u - mean) / deviation`, channel by channel (or all alike by one number)."""

    name: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def apply(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return images `(count, channels, *size)` in this range."""
        shape = (1, -1, *(1,) * (images.ndim - 2))
        mean, deviation = (np.array(values, np.float32).reshape(shape) for values in (self.mean, self.deviation))
        return ((images - mean) / deviation).astype(np.float32)


def known_ranges(channels: int) -> tuple[Range, ...]:
    """Return the ranges that networks are usually trained on, for images of so many channels.

    >>> [found.name for found in known_ranges(1)]
    ['0 to 1', '-1 to 1', '0 to 255', 'standardised', '0 to 255 less the mean']
    """
    mean: tuple[float, ...] = _IMAGENET_MEAN
    deviation: tuple[float, ...] = _IMAGENET_DEVIATION
    if channels != _COLOURS:
        mean, deviation = (sum(mean) / _COLOURS,), (sum(deviation) / _COLOURS,)
    return (
        Range("0 to 1", (0.0,), (1.0,)),
        Range("-1 to 1", (0.5,), (0.5,)),
        Range("0 to 255", (0.0,), (1 / 255,)),
        Range("standardised", mean, deviation),
        Range("0 to 255 less the mean", mean, (1 / 255,)),
    )


def told_range(
    limits: Sequence[float] | None, mean: Sequence[float] | None, deviation: Sequence[float] | None, channels: int
) -> Range | None:
    """Return the range that the user told, by its limits or by mean and deviation; None where nothing was told.

    Raises:
        Refusal: `input_range_invalid`, with the field.

    >>> told_range((-1, 1), None, None, 3)
    Range(name='-1 to 1, as told', mean=(0.5,), deviation=(0.5,))
    """
    if limits is not None:
        if len(limits) != 2 or not limits[0] < limits[1]:
            raise _wrong("input_range", "LOW,HIGH with LOW below HIGH", limits)
        low, high = limits
        return Range(f"{low:g} to {high:g}, as told", (-low / (high - low),), (1 / (high - low),))
    if mean is None and deviation is None:
        return None
    for field, values in (("input_mean", mean), ("input_std", deviation)):
        if values is not None and len(values) not in (1, channels):
            raise _wrong(field, f"one number, or one for each of {channels} channels", values)
    if deviation is not None and min(deviation) <= 0:
        raise _wrong("input_std", "positive numbers", deviation)
    return Range("mean and deviation, as told", tuple(mean or (0.0,)), tuple(deviation or (1.0,)))


def by_scores(scores: Mapping[Range, Tensor]) -> tuple[Range, ...]:
    """Return the ranges on which a classifier tells different images apart, but not beyond what training gives.

    `scores` are logarithms of probabilities, `(images, classes)`. Told apart: the mutual information between image and
    class is near the highest of all ranges. Far too small a range gives all images the same class; far too large a one
    makes every score many times what training with cross-entropy leads to.
    """
    plausible = {known: table for known, table in scores.items() if table.std() <= _PLAUSIBLE_SPREAD}
    information = {known: _mutual_information(table) for known, table in (plausible or scores).items()}
    least = _SHARE_OF_BEST * max(information.values())
    return tuple(known for known, found in information.items() if found >= least)


def _mutual_information(scores: Tensor) -> float:
    mean = scores.exp().mean(0)
    return float(_entropy(mean) - _entropy(scores.exp()).mean())


def _entropy(probabilities: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(probabilities).sum(-1)
    return entropy


def _wrong(field: str, expected: str, got: Sequence[float]) -> Refusal:
    return Refusal(
        Code.INPUT_RANGE_INVALID,
        "the range of the model's input values cannot be read",
        field=field,
        expected=expected,
        got=",".join(f"{value:g}" for value in got)[:80],
    )
