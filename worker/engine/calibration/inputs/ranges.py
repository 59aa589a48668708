"""The values that a model expects its images to have: told by somebody, by the model itself, or guessed and covered.

Synthetic images have values around 0 to 1; a `Range` maps them to what the model was trained on. The wrong one costs
more accuracy than the wrong images.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convpress.calibration import InputValues
from convpress.refusal import Code, Refusal

_COLOURS = 3
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PLAUSIBLE_SPREAD = 15.0
_SHARE_OF_BEST = 0.6


@dataclass(frozen=True)
class Range:
    """Maps images `u` of values 0 to 1 to `(u - mean) / deviation`, by one number a channel or one for all.

    Where a model takes other images as well, of other numbers of channels, these are mapped by the numbers' average.
    Images go a little beyond 0 and 1, unless it is `strict`: for models that take roots of them, say.
    """

    name: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    strict: bool = False

    def apply(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return images `(count, channels, *size)` in this range."""
        mean, deviation = (_for_channels(values, images) for values in (self.mean, self.deviation))
        within = np.clip(images, 0, 1) if self.strict else images
        return ((within - mean) / deviation).astype(np.float32)


def _for_channels(values: tuple[float, ...], images: NDArray[np.float32]) -> NDArray[np.float32]:
    fitting = np.array(
        values if len(values) == images.shape[1] else [sum(values) / len(values)], np.float32
    )
    return fitting.reshape(1, -1, *(1,) * (images.ndim - 2))


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


def told_range(told: InputValues, channels: int) -> Range:
    """Return the range that the user told, for images of so many channels.

    Raises:
        Refusal: `input_range_invalid` where the numbers do not fit the channels.

    >>> told_range(InputValues((-1, 1), None, None), 3)
    Range(name='-1 to 1', mean=(0.5,), deviation=(0.5,), strict=False)
    """
    if told.limits is not None:
        low, high = told.limits
        return Range(f"{low:g} to {high:g}", (-low / (high - low),), (1 / (high - low),))
    for field, values in (("input_mean", told.mean), ("input_std", told.deviation)):
        if values is not None and len(values) not in (1, channels):
            raise Refusal(
                Code.INPUT_RANGE_INVALID,
                f"the model's images have {channels} channels",
                field=field,
                expected=f"one number, or one for each of {channels} channels",
                got=f"{len(values)} numbers",
            )
    return Range("mean and deviation", told.mean or (0.0,), told.deviation or (1.0,))


def by_scores(scores: Mapping[Range, Tensor]) -> tuple[Range, ...]:
    """Return the ranges on which a classifier tells different images apart, but not beyond what training gives.

    `scores` are logarithms of probabilities, `(images, classes)`. Told apart: the mutual information between image and
    class is near the highest of all ranges. Far too small a range gives all images the same class; far too large a one
    makes every score many times what training with cross-entropy leads to.
    """
    plausible = {
        known: table for known, table in scores.items() if table.std() <= _PLAUSIBLE_SPREAD
    }
    information = {
        known: _mutual_information(table) for known, table in (plausible or scores).items()
    }
    least = _SHARE_OF_BEST * max(information.values())
    return tuple(known for known, found in information.items() if found >= least)


def _mutual_information(scores: Tensor) -> float:
    mean = scores.exp().mean(0)
    return max(0.0, float(_entropy(mean) - _entropy(scores.exp()).mean()))


def _entropy(probabilities: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(probabilities).sum(-1)
    return entropy
