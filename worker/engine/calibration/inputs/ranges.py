"""The value ranges that a model may expect its images in.

Synthetic images have values around 0 to 1; a `ValueRange` maps them to the values that the model
was trained on. A wrong range costs more accuracy than wrong images do.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convpress.calibration import InputValues
from convpress.refusal import Code, Refusal
from worker.engine.calibration.inputs.generators import Images

Numbers = tuple[float, ...]
"""One number for each channel, or one for all."""

_COLOURS = 3
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
# Of log-probabilities: trained networks' scores deviate less on images in their own range.
_PLAUSIBLE_DEVIATION = 15.0
# Those of small networks that were trained until they were certain reach 23 on their own samples,
# and 255 times that of others on samples in a range that is 255 times too large.
_PLAUSIBLE_DEVIATION_OF_SAMPLES = 60.0
# Ranges with at least this share of the highest mutual information are covered.
_SHARE_OF_BEST = 0.6
# Those with this share might still be the right ones: an artifact is judged in them too.
_PLAUSIBLE_SHARE = 0.25
# Nats of mutual information, of at most ln(classes), that a trained classifier exceeds by far.
_LEAST_INFORMATION = 0.1


@dataclass(frozen=True)
class ValueRange:
    """Maps images `u` of values 0 to 1 to `(u - mean) / deviation`.

    There is one number for each channel or one for all. Images with another number of channels are
    mapped by the numbers' average. Images go a little beyond 0 and 1 unless the range is `strict`,
    for models that take roots, for example.
    """

    name: str
    mean: Numbers
    deviation: Numbers
    strict: bool = False

    def apply(self, images: Images) -> Images:
        """Return images `(count, channels, *size)` in this range.

        >>> grey = np.array([[[0.0, 1.0]]], np.float32)
        >>> ValueRange("-1 to 1", (0.5,), (0.5,)).apply(grey).tolist()
        [[[-1.0, 1.0]]]
        """
        mean = _for_channels(self.mean, images)
        deviation = _for_channels(self.deviation, images)
        within = np.clip(images, 0, 1) if self.strict else images
        scaled = (within - mean) / deviation
        return scaled.astype(np.float32)


def _for_channels(values: Numbers, images: Images) -> Images:
    """Return one number for each channel, or one for all, on the images' axes."""
    if len(values) != images.shape[1]:
        mean = sum(values) / len(values)
        values = (mean,)
    axes = (1,) * (images.ndim - 2)
    array = np.array(values, np.float32)
    return array.reshape(1, -1, *axes)


def known_ranges(channels: int) -> tuple[ValueRange, ...]:
    """Return the ranges that networks are usually trained on, for this number of channels.

    >>> [known.name for known in known_ranges(1)]
    ['0 to 1', '-1 to 1', '0 to 255', 'standardised', '0 to 255 less the mean']
    """
    mean: Numbers = _IMAGENET_MEAN
    deviation: Numbers = _IMAGENET_DEVIATION
    if channels != _COLOURS:
        mean = (sum(mean) / _COLOURS,)
        deviation = (sum(deviation) / _COLOURS,)
    return (
        ValueRange("0 to 1", (0.0,), (1.0,)),
        ValueRange("-1 to 1", (0.5,), (0.5,)),
        ValueRange("0 to 255", (0.0,), (1 / 255,)),
        ValueRange("standardised", mean, deviation),
        ValueRange("0 to 255 less the mean", mean, (1 / 255,)),
    )


def stated_range(stated: InputValues, channels: int) -> ValueRange:
    """Return the range that the user stated, for images with this number of channels.

    Raises:
        Refusal: `input_range_invalid` where the numbers do not fit the channels.

    >>> stated_range(InputValues((-1, 1), None, None), 3)
    ValueRange(name='-1 to 1', mean=(0.5,), deviation=(0.5,), strict=False)
    """
    if stated.limits is not None:
        low, high = stated.limits
        span = high - low
        name = f"{low:g} to {high:g}"
        mean = (-low / span,)
        deviation = (1 / span,)
        return ValueRange(name, mean, deviation)
    parameters = (("input_mean", stated.mean), ("input_std", stated.deviation))
    for field, values in parameters:
        if values is not None and len(values) not in (1, channels):
            raise Refusal(
                Code.INPUT_RANGE_INVALID,
                f"{field} does not fit the channels of the model's images, of which there are "
                f"{channels}",
                field=field,
                expected=f"1 or {channels} numbers" if channels > 1 else "1 number",
                got=f"{len(values)} numbers",
            )
    assert stated.mean is not None  # where there are no limits
    assert stated.deviation is not None
    return ValueRange("mean and deviation", stated.mean, stated.deviation)


def ranges_by_scores(scores: Mapping[ValueRange, Tensor]) -> tuple[ValueRange, ...]:
    """Return the ranges in which a classifier tells images apart with plausible scores.

    `scores` are log-probabilities `(images, classes)`. A classifier tells images apart where the
    mutual information between image and class is near the highest of all ranges. In far too small
    a range all images get the same class; in far too large a one every score is many times what
    training with cross-entropy leads to.
    """
    return _within_share(scores, _SHARE_OF_BEST)


def plausible_by_scores(scores: Mapping[ValueRange, Tensor]) -> tuple[ValueRange, ...]:
    """Return all ranges that a classifier may expect: those of `ranges_by_scores` and weaker ones.

    `scores` are as in `ranges_by_scores`.
    """
    return _within_share(scores, _PLAUSIBLE_SHARE)


def tells_apart(scores: Mapping[ValueRange, Tensor]) -> bool:
    """Whether a classifier tells images apart in any plausible range; an untrained one does not.

    `scores` are as in `ranges_by_scores`.

    >>> [values, *_] = known_ranges(3)
    >>> certain = torch.eye(4).clamp_min(1e-6).log()
    >>> tells_apart({values: certain}), tells_apart({values: torch.zeros(4, 4).log_softmax(1)})
    (True, False)
    """
    return max(information_by_range(scores).values()) >= _LEAST_INFORMATION


def are_told_apart(scores: Tensor) -> bool:
    """Whether a classifier tells images with these log-probabilities `(images, classes)` apart.

    The scores have to be plausible too: in far too large a range they are not.
    """
    is_plausible = bool(scores.std() <= _PLAUSIBLE_DEVIATION_OF_SAMPLES)
    return is_plausible and mutual_information(scores) >= _LEAST_INFORMATION


def _within_share(
    scores: Mapping[ValueRange, Tensor], share: float
) -> tuple[ValueRange, ...]:
    """Return the ranges with at least this share of the highest mutual information."""
    information = information_by_range(scores)
    least = share * max(information.values())
    return tuple(known for known, amount in information.items() if amount >= least)


def information_by_range(
    scores: Mapping[ValueRange, Tensor],
) -> dict[ValueRange, float]:
    """Return the mutual information between image and class in every range of plausible scores."""
    plausible = {
        known: table
        for known, table in scores.items()
        if table.std() <= _PLAUSIBLE_DEVIATION
    }
    # Where no range is plausible, all of them are compared.
    compared = plausible or scores
    return {known: mutual_information(table) for known, table in compared.items()}


def mutual_information(scores: Tensor) -> float:
    """Return the mutual information between image and class: H(mean p) - mean H(p), in nats."""
    probabilities = scores.exp()
    marginal = _entropy(probabilities.mean(0))
    conditional = _entropy(probabilities).mean()
    return max(0.0, float(marginal - conditional))


def _entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy over the last axis, in nats."""
    entropy: Tensor = torch.special.entr(probabilities).sum(-1)
    return entropy
