"""The comparison of the outputs of two models on the same inputs."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from convpress.refusal import Code, Refusal

DeclaredShape = tuple[int | str | None, ...] | None
"""A shape as a model declares it; None where it declares none."""

Outputs = Mapping[str, NDArray[np.generic]]
"""Arrays by output name."""

_PROBABILITY_TOLERANCE, _LEAST_PROBABILITY = 1e-3, 1e-9
# Of a sum of squares: outputs that are nearer to each other are the same.
ROUNDING = 1e-9
# A mean square: the rounding of 32 bits leaves about as much of numbers near 1 that cancel.
_ZERO = 1e-12
# The mean and the spread of fewer samples are too uncertain.
FEWEST_SAMPLES = 8


@dataclass(frozen=True)
class Comparison:
    """The difference of two models' outputs.

    `relative_error` is `||y - y'|| / ||y||` of the floating-point output y that differs most: what
    is large, as pixels are, must not hide the errors of what is small, as probabilities are. An
    output that is zero but for rounding has no size of its own, and counts relative to the smallest
    of the others. Values that are not finite in the original are left out. It is None where all
    outputs are zero. Where one vector of scores a sample is the only output, as of a classifier, y
    are the scores minus their mean, or minus the mean of the logarithms where they are
    probabilities: what all scores share changes no class.
    `agreement` is then the share of samples with finite scores to which both give the same class;
    else None. `finite` says whether all outputs of the original are. `sized_by_values` are the
    outputs whose sizes depend on values, as those behind NonMaxSuppression: they are not compared.
    `spread_error` is `||y - y'|| / ||y - m||` for the mean sample m, of the output where that is
    most: outputs of the same size may differ little from sample to sample, and an error counts by
    what tells samples apart. It is None of fewer than eight samples, of samples of several sizes,
    or where all samples have the same outputs.
    """

    outputs: tuple[str, ...]
    relative_error: float | None
    agreement: float | None
    finite: bool
    sized_by_values: tuple[str, ...] = ()
    spread_error: float | None = None


def compare(
    originals: Sequence[Outputs],
    compressed: Sequence[Outputs],
    declared: Mapping[str, DeclaredShape] | None = None,
    sized_outputs: Collection[str] = (),
) -> Comparison:
    """Compare the outputs of two models on the same inputs.

    Names, shapes and dtypes must agree, and values be finite where the original's are. `declared`
    holds the shapes that the model declares: sizes that it leaves open may differ, and those of
    `sized_outputs`, which values decide, unless the model has always the declared size.

    Raises:
        Refusal: `verification_failed`, with the first output that differs.

    >>> compare([{"y": np.array([3.0, 4.0])}], [{"y": np.array([3.0, 4.5])}]).relative_error
    0.1
    """
    sums: dict[str, _Sums] = defaultdict(_Sums)
    finite = True
    sized_by_values = _sized_by_values(
        originals, compressed, declared or {}, sized_outputs
    )
    pairs = zip(originals, compressed, strict=True)
    for original, other in pairs:
        _require_same_names(original, other)
        is_only_output = len(original) == 1
        for name, expected in original.items():
            got = other[name]
            if name in sized_by_values:
                continue
            _require_same_type(name, expected, got)
            # whole numbers, as of an argmax, have no small differences
            if not np.issubdtype(expected.dtype, np.inexact):
                continue
            expected64, got64 = expected.astype(np.float64), got.astype(np.float64)
            # what is added to all scores of a sample changes no class
            if is_only_output and is_scores(expected):
                expected64, got64 = _centred(expected64), _centred(got64)
            # an original may give NaN or infinity; the artifact may then do so too
            usable = np.isfinite(expected64)
            finite &= bool(usable.all())
            is_usable = np.isfinite(got64[usable])
            if not is_usable.all():
                raise _differs(f"values of {name}", "finite", "NaN or infinity")
            sums[name].add(expected64, got64, usable)
    agreement = None if sized_by_values else _agreement(originals, compressed)
    return Comparison(
        outputs=tuple(originals[0]),
        relative_error=_relative_error(sums.values()),
        agreement=agreement,
        finite=finite,
        sized_by_values=sized_by_values,
        spread_error=_spread_error(sums.values()),
    )


class _Sums:
    """The sums of an output over several runs: of squares, and of squared differences."""

    def __init__(self) -> None:
        self._values = 0
        self._samples = 0
        self._squares = 0.0
        self._differences = 0.0
        self._sums: dict[tuple[int, ...], NDArray[np.float64]] = {}

    def add(
        self,
        original: NDArray[np.float64],
        other: NDArray[np.float64],
        usable: NDArray[np.bool_],
    ) -> None:
        """Add a run's samples, which lie along the first axis, where they are usable."""
        self._values += int(usable.sum())
        self._differences += float(np.square((original - other)[usable]).sum())
        values = np.where(usable, original, 0)
        self._squares += float(np.square(values).sum())
        rows = values.reshape(1) if values.ndim == 0 else values
        self._samples += len(rows)
        size = rows.shape[1:]
        self._sums[size] = self._sums.get(size, np.zeros(size)) + rows.sum(0)

    @property
    def size(self) -> float:
        """The mean square of the original's values."""
        return self._squares / max(self._values, 1)

    @property
    def difference(self) -> float:
        """The mean square of the differences."""
        return self._differences / max(self._values, 1)

    @property
    def spread(self) -> float:
        """The mean square of the original's samples about their mean.

        It is 0 of few samples or of several sizes, or where rounding alone tells samples apart. The
        mean is that of the same samples: the sum is raised by what that takes away.
        """
        if self._samples < FEWEST_SAMPLES or len(self._sums) > 1:
            return 0.0
        [total] = self._sums.values()
        of_mean = float(np.square(total).sum()) / self._samples
        about_mean = self._squares - of_mean
        if about_mean <= ROUNDING * self._squares:
            return 0.0
        return about_mean * self._samples / (self._samples - 1) / self._values


def _relative_error(outputs: Collection[_Sums]) -> float | None:
    """Return the error of the output that differs most of its size; None where all are zero."""
    zero = size_of_zero([output.size for output in outputs])
    sizes = [output.size for output in outputs if output.size > zero]
    if not sizes:
        return None
    least = min(sizes)
    squares = [output.difference / max(output.size, least) for output in outputs]
    return float(np.sqrt(max(squares)))


def _spread_error(outputs: Collection[_Sums]) -> float | None:
    """Return the error of the output that differs most of its spread; None where none has one."""
    zero = size_of_zero([output.size for output in outputs])
    squares = [
        output.difference / output.spread
        for output in outputs
        if output.spread > 0 and output.size > zero
    ]
    return float(np.sqrt(max(squares))) if squares else None


def size_of_zero(sizes: Sequence[float]) -> float:
    """Return the mean square up to which an output is zero but for rounding beside others.

    `sizes` are the mean squares of all outputs. Large ones make none of the others zero.

    >>> size_of_zero([9.0, 1e-20]), size_of_zero([0.25])
    (1e-12, 2.5e-13)
    """
    return _ZERO * min(max(sizes, default=0.0), 1.0)


def _sized_by_values(
    originals: Sequence[Outputs],
    compressed: Sequence[Outputs],
    declared: Mapping[str, DeclaredShape],
    sized_outputs: Collection[str],
) -> tuple[str, ...]:
    """Return the outputs whose sizes differ in some run, along axes that the model leaves open."""
    names: dict[str, None] = {}
    for original, other in zip(originals, compressed, strict=True):
        for name, expected in original.items():
            shape = declared.get(name)
            own = other.get(name)
            if own is None or own.dtype != expected.dtype or own.ndim != expected.ndim:
                continue
            axes = [
                axis
                for axis in range(own.ndim)
                if own.shape[axis] != expected.shape[axis]
            ]
            if not axes:
                continue
            sizes = [run[name].shape for run in originals]
            if name in sized_outputs:
                is_open = not _are_kept(axes, shape, sizes)
            else:
                is_open = _are_open(axes, shape, sizes)
            if is_open:
                names[name] = None
    return tuple(names)


def _are_kept(
    axes: Sequence[int], declared: DeclaredShape, shapes: Sequence[tuple[int, ...]]
) -> bool:
    """Return whether an output has, in all runs, the size that is declared of one of these axes.

    Values decide rows. The other axes have the sizes of layers, which no artifact may change.
    """
    if declared is None or len(declared) != len(shapes[0]):
        return False
    for axis in axes:
        sizes = {shape[axis] for shape in shapes}
        if sizes == {declared[axis]}:
            return True
    return False


def _are_open(
    axes: Sequence[int], declared: DeclaredShape, shapes: Sequence[tuple[int, ...]]
) -> bool:
    """Return whether the sizes of an output along these axes may depend on values.

    The model declares them as open; or it declares nothing of this rank, and they differ from run
    to run.
    """
    # a declaration of another rank is wrong, and says nothing
    if declared is not None and len(declared) == len(shapes[0]):
        return not any(isinstance(declared[axis], int) for axis in axes)
    return all(_differ(axis, shapes) for axis in axes)


def _differ(axis: int, shapes: Sequence[tuple[int, ...]]) -> bool:
    sizes = {shape[axis] for shape in shapes}
    return len(sizes) > 1


def worst(comparisons: Mapping[str, Comparison]) -> Comparison:
    """Return the worst figures of several comparisons of the same outputs.

    >>> first, second = Comparison(("y",), 0.1, 0.8, True), Comparison(("y",), None, 0.9, False)
    >>> both = worst({"0 to 1": first, "-1 to 1": second})
    >>> both.relative_error, both.agreement, both.finite
    (0.1, 0.8, False)
    """
    each = list(comparisons.values())
    errors = [one.relative_error for one in each if one.relative_error is not None]
    spread_errors = [one.spread_error for one in each if one.spread_error is not None]
    agreements = [one.agreement for one in each if one.agreement is not None]
    names_of_each = [one.sized_by_values for one in each]
    sized = chain.from_iterable(names_of_each)
    return Comparison(
        outputs=each[0].outputs,
        relative_error=max(errors, default=None),
        agreement=min(agreements, default=None),
        finite=all(one.finite for one in each),
        sized_by_values=tuple(dict.fromkeys(sized)),
        spread_error=max(spread_errors, default=None),
    )


def _require_same_names(original: Outputs, other: Outputs) -> None:
    if list(original) != list(other):
        raise _differs("names", list(original), list(other))


def _require_same_type(
    name: str, expected: NDArray[np.generic], got: NDArray[np.generic]
) -> None:
    if (expected.shape, expected.dtype) != (got.shape, got.dtype):
        raise _differs(f"shape and dtype of {name}", _type_of(expected), _type_of(got))


def _agreement(
    originals: Sequence[Outputs], compressed: Sequence[Outputs]
) -> float | None:
    """Return the share of samples whose largest score is at the same index in both models.

    It is None unless each run has one vector of scores a sample as its only output.
    """
    scores, other_scores = [], []
    pairs = zip(originals, compressed, strict=True)
    for original, other in pairs:
        if len(original) != 1:
            return None
        [output], [other_output] = original.values(), other.values()
        if not is_scores(output):
            return None
        vectors = output.reshape(len(output), -1)
        scores.append(vectors)
        other_vectors = other_output.reshape(len(other_output), -1)
        other_scores.append(other_vectors)
    a, b = np.concatenate(scores), np.concatenate(other_scores)
    finite = np.isfinite(a).all(1)
    if not finite.any():
        return None
    classes = a[finite].argmax(1)
    other_classes = b[finite].argmax(1)
    return float(np.mean(classes == other_classes))


def _centred(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores, or the logarithms of probabilities, minus the mean of each vector.

    Softmax flattens differences between scores: the logarithm brings them back.
    """
    table = scores.reshape(len(scores), -1)
    if (table >= 0).all() and np.abs(table.sum(1) - 1).max() < _PROBABILITY_TOLERANCE:
        floored = np.maximum(table, _LEAST_PROBABILITY)
        table = np.log(floored)
    means = table.mean(1, keepdims=True)
    centred: NDArray[np.float64] = table - means
    return centred


def is_scores(output: NDArray[np.generic]) -> bool:
    """Whether an output is one vector of two or more floating-point numbers a sample."""
    if (
        output.ndim < 2
        or not np.issubdtype(output.dtype, np.floating)
        or not output.size
    ):
        return False
    samples = output.shape[0]
    is_vector = output.size == samples * max(output.shape[1:])
    return bool(is_vector and output.size >= 2 * samples)


def _type_of(array: NDArray[np.generic]) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _differs(property_name: str, expected: object, got: object) -> Refusal:
    return Refusal(
        Code.VERIFICATION_FAILED,
        f"the compressed model differs from the original in the {property_name} of its outputs",
        expected=str(expected),
        got=str(got),
    )
