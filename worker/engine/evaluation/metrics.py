"""Metrics of labelled samples: top-1, PSNR, mean squared error, and mean IoU of masks.

A metric turns the outputs of a run into a row of numbers a sample. Rows are summed over all
samples, and the sums become the figure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from convpress.gate.samples import EVALUATION
from convpress.shapes import format_shape
from worker.engine.evaluation.answers import RightOrWrong

AnyArray = NDArray[np.generic]
"""An array of any type."""
Sums = NDArray[np.float64]
"""Sums over samples: one row."""

IGNORED = 255
"""The value of a mask's pixels that do not count, unless the model has a class of this number."""

_LEAST_RELATIVE_ERROR = 1e-10
"""The mean squared error, over the squared peak, below which the PSNR rises no more: 100 dB."""
_PEAKS = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
"""The usual ranges of images, from which the peak is taken where the targets lie within one."""


class Metric(Protocol):
    """What a metric does with outputs `(samples, ...)` and their labels or targets."""

    def sums(self, output: AnyArray, truth: AnyArray) -> Sums:
        """Return the sums over the samples of a run."""
        ...

    def figure(self, sums: Sums, count: int) -> float:
        """Return the figure of `count` samples from their sums."""
        ...

    def right(self, output: AnyArray, truth: AnyArray) -> RightOrWrong | None:
        """Return a mask of the samples that are right; None of a metric that has degrees."""
        ...


@dataclass(frozen=True)
class TopOne:
    """The share of samples whose largest score is that of the label."""

    def sums(self, output: AnyArray, truth: AnyArray) -> Sums:
        """Return the number of right classes."""
        return np.array([np.sum(self.right(output, truth))], np.float64)

    def right(self, output: AnyArray, truth: AnyArray) -> RightOrWrong:
        """Return a mask of the samples that have the class of the label."""
        classes = output.reshape(len(output), -1)
        if np.issubdtype(output.dtype, np.floating):
            classes = classes.argmax(1)[:, None]
        return np.asarray(classes[:, 0] == truth, np.bool_)

    def figure(self, sums: Sums, count: int) -> float:
        """Return the share."""
        return float(sums[0] / count)


@dataclass(frozen=True)
class MeanSquaredError:
    """The mean over the samples of the mean squared difference; in dB below `peak`, if it is set.

    The PSNR of a sample is `10 log10(peak^2 / MSE)`.
    """

    peak: float | None = None

    def sums(self, output: AnyArray, truth: AnyArray) -> Sums:
        """Return the sum over the samples."""
        original = truth.astype(np.float64)
        predicted = output.astype(np.float64)
        difference = predicted - original
        squares = (difference**2).reshape(len(output), -1)
        errors = squares.mean(1)
        if self.peak is not None:
            relative_to_peak = errors / self.peak**2
            relative = np.maximum(relative_to_peak, _LEAST_RELATIVE_ERROR)
            errors = -10 * np.log10(relative)
        return np.array([errors.sum()])

    def figure(self, sums: Sums, count: int) -> float:
        """Return the mean."""
        return float(sums[0] / count)

    def right(self, output: AnyArray, truth: AnyArray) -> None:
        """Return None: the metric has degrees."""


@dataclass(frozen=True)
class MeanIou:
    """The mean, over the classes of the targets, of intersection over union of all pixels.

    `axis` is the axis of the classes' scores; None where the output holds class numbers, or scores
    of one class, which are compared with `threshold`.
    """

    classes: tuple[int, ...]
    axis: int | None
    threshold: float | None
    ignored: int | None

    def sums(self, output: AnyArray, truth: AnyArray) -> Sums:
        """Return the intersection and the union of each class, one after another."""
        if self.axis is not None:
            predicted = output.argmax(self.axis)
        elif self.threshold is not None:
            scores = output.reshape(truth.shape).astype(np.float64)
            predicted = (scores > self.threshold).astype(np.int64)
        else:
            predicted = output.reshape(truth.shape)
        counting = np.ones(truth.shape, np.bool_)
        if self.ignored is not None:
            counting = truth != self.ignored
        overlaps = []
        unions = []
        for number in self.classes:
            is_class, is_predicted = truth == number, predicted == number
            both = is_class & is_predicted & counting
            overlaps.append(np.sum(both))
            either = (is_class | is_predicted) & counting
            unions.append(np.sum(either))
        return np.array([*overlaps, *unions], np.float64)

    def figure(self, sums: Sums, count: int) -> float:  # noqa: ARG002 - pixels are counted
        """Return the mean over the classes."""
        overlaps, unions = sums.reshape(2, -1)
        return float(np.mean(overlaps / unions))

    def right(self, output: AnyArray, truth: AnyArray) -> None:
        """Return None: the metric has degrees."""


def metric_for(name: str, output: AnyArray, truth: AnyArray) -> Metric:
    """Return a metric for a model that gives `output` for its first samples.

    `truth` are the labels or targets of all samples.

    Raises:
        Refusal: `evaluation_invalid` where labels or targets do not fit the output.
    """
    return _METRICS[name](output, truth)


def _top_one(output: AnyArray, labels: AnyArray) -> Metric:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise EVALUATION.invalid(
            "labels are one class number for each sample",
            "whole numbers of shape (samples,)",
            _type_of(labels),
        )
    size = output.size // max(len(output), 1)
    if size == 1 and np.issubdtype(output.dtype, np.integer):
        return TopOne()
    is_vector = size == max(output.shape[1:], default=0)
    if not np.issubdtype(output.dtype, np.floating) or not is_vector or size < 2:
        raise EVALUATION.invalid(
            "top-1 needs an output of scores",
            "one vector of two or more scores a sample, or its class number",
            _type_of(output),
        )
    if labels.min() < 0 or labels.max() >= size:
        raise EVALUATION.invalid(
            f"there are labels beyond the {size} classes of the output",
            f"0 to {size - 1}",
            f"{labels.min()} to {labels.max()}",
        )
    return TopOne()


def _psnr(output: AnyArray, targets: AnyArray) -> Metric:
    _check_targets(output, targets)
    return MeanSquaredError(_peak(targets))


def _mse(output: AnyArray, targets: AnyArray) -> Metric:
    _check_targets(output, targets)
    return MeanSquaredError()


def _peak(targets: AnyArray) -> float:
    """Return the width of the usual range that the targets lie in, or else of their own range.

    >>> _peak(np.array([0.0, 0.9])), _peak(np.array([-0.2, 0.9])), _peak(np.array([0, 200]))
    (1.0, 2.0, 255.0)
    """
    least, most = float(targets.min()), float(targets.max())
    for low, high in _PEAKS:
        if low <= least and most <= high:
            return high - low
    return most - least


def _check_targets(output: AnyArray, targets: AnyArray) -> None:
    """Check that targets are numbers of the output's shape."""
    if not np.issubdtype(output.dtype, np.floating):
        raise EVALUATION.invalid(
            "the output holds no floating-point numbers",
            "floating-point numbers",
            str(output.dtype),
        )
    if targets.shape[1:] != output.shape[1:]:
        raise EVALUATION.invalid(
            "the targets have another shape than the output",
            format_shape((None, *output.shape[1:])),
            format_shape(targets.shape),
        )
    if not np.isfinite(targets).all():
        raise EVALUATION.invalid(
            "the targets have NaN or infinity", "finite numbers", "others"
        )


def _mean_iou(output: AnyArray, targets: AnyArray) -> Metric:
    is_whole = np.issubdtype(targets.dtype, np.integer) or targets.dtype == np.bool_
    if not is_whole or targets.ndim < 2:
        raise EVALUATION.invalid(
            "targets of mean-iou are masks of class numbers",
            "whole numbers of shape (samples, height, width)",
            _type_of(targets),
        )
    axis, number = _classes(output, targets)
    ignored = IGNORED if number is None or number <= IGNORED else None
    numbers = np.unique(targets)
    values = [int(value) for value in numbers]
    classes = tuple(value for value in values if value != ignored)
    if not classes:
        raise EVALUATION.invalid(
            "all targets have the number that is ignored", "other numbers", str(IGNORED)
        )
    if classes[0] < 0 or (number is not None and classes[-1] >= number):
        raise EVALUATION.invalid(
            "there are targets beyond the classes of the output",
            "0 and more" if number is None else f"0 to {number - 1}",
            f"{classes[0]} to {classes[-1]}",
        )
    threshold = None
    if axis is None and np.issubdtype(output.dtype, np.floating):
        # probabilities lie within 0 to 1, scores of a sigmoid do not
        threshold = 0.5 if output.min() >= 0 and output.max() <= 1 else 0.0
    return MeanIou(classes, axis, threshold, ignored)


def _classes(output: AnyArray, targets: AnyArray) -> tuple[int | None, int | None]:
    """Return the axis of an output's classes, and their number; None each where there is none.

    Raises:
        Refusal: `evaluation_invalid`.
    """
    mask = targets.shape[1:]
    is_float = np.issubdtype(output.dtype, np.floating)
    shape = output.shape[1:]
    squeezed = [shape]
    if len(shape) == len(mask) + 1:
        for axis in (0, len(mask)):
            before = shape[:axis]
            after = shape[axis + 1 :]
            others = before + after
            if others == mask and shape[axis] > 1 and is_float:
                return axis + 1, shape[axis]
            if shape[axis] == 1:
                squeezed.append(others)
    if mask in squeezed:
        return None, 2 if is_float else None
    raise EVALUATION.invalid(
        "the targets have another size than the output's masks",
        f"the sizes of the output {format_shape((None, *shape))} without its classes",
        format_shape(targets.shape),
    )


def _type_of(array: AnyArray) -> str:
    return f"{array.dtype} {format_shape(array.shape) or '()'}"


_METRICS: Mapping[str, Callable[[AnyArray, AnyArray], Metric]] = {
    "top-1": _top_one,
    "psnr": _psnr,
    "mse": _mse,
    "mean-iou": _mean_iou,
}
