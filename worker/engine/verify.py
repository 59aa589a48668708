"""The compressed model against the original, both loaded from their files and run on the same inputs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from convpress.formats import Format
from convpress.refusal import Code, Refusal
from worker.engine.formats import load_runner
from worker.engine.model import Inputs

Outputs = Mapping[str, NDArray[np.generic]]

_ENOUGH_RUNS, _ENOUGH_SECONDS = 15, 1.0
_FEWEST_RUNS, _MOST_SECONDS = 3, 20.0
_FEWEST_SECONDS = 0.1
"""What else the machine does takes milliseconds, in which small models run many times."""
_PROBABILITY_TOLERANCE, _LEAST_PROBABILITY = 1e-3, 1e-9


@dataclass(frozen=True)
class Measurement:
    """What a model gave on the inputs, and the median time of one run on one thread, in milliseconds, by the clock."""

    outputs: tuple[Outputs, ...]
    latency_ms: float


def measure(model_format: Format, path: Path, samples: Sequence[Inputs]) -> Measurement:
    """Load a model from its file, run it on several inputs and time it on the first; the model is dropped again.

    Timed are 3 to 15 runs after the first, fewer where one takes long, and more where they take a tenth of a second
    together or less.
    """
    run = load_runner(model_format, path)
    outputs = tuple(run(inputs) for inputs in samples)
    inputs = samples[0]
    seconds: list[float] = []
    while not _enough(seconds):
        start = time.perf_counter()
        run(inputs)
        seconds.append(time.perf_counter() - start)
    return Measurement(outputs, 1000 * median(seconds))


def _enough(seconds: list[float]) -> bool:
    spent = sum(seconds)
    if len(seconds) >= _FEWEST_RUNS:
        return spent >= _ENOUGH_SECONDS or (
            len(seconds) >= _ENOUGH_RUNS and spent >= _FEWEST_SECONDS
        )
    return spent >= _MOST_SECONDS


@dataclass(frozen=True)
class Comparison:
    """How far the compressed model's outputs are from the original's.

    `relative_error` is `||y - y'|| / ||y||` over all floating-point outputs together; None where the original gives
    nothing finite to compare with. Where there is one vector of scores an input, as a classifier has, y are the scores
    about their mean, and the logarithms of probabilities where they are such: what softmax flattens counts.
    `agreement` is then the share of inputs to which both give the same class, of those with finite scores; else None.
    """

    outputs: tuple[str, ...]
    relative_error: float | None
    agreement: float | None
    finite: bool


def compare(originals: Sequence[Outputs], compressed: Sequence[Outputs]) -> Comparison:
    """Compare outputs, which must agree in names, shapes and dtypes, and be finite where the original's are.

    Raises:
        Refusal: `verification_failed`, with the first output that differs.

    >>> compare([{"y": np.array([3.0, 4.0])}], [{"y": np.array([3.0, 4.5])}]).relative_error
    0.1
    """
    difference = energy = 0.0
    finite = True
    for original, other in zip(originals, compressed, strict=True):
        if list(original) != list(other):
            raise _differs("names", list(original), list(other))
        for name, expected in original.items():
            got = other[name]
            if (expected.shape, expected.dtype) != (got.shape, got.dtype):
                raise _differs(f"shape and dtype of {name}", _describe(expected), _describe(got))
            if not np.issubdtype(expected.dtype, np.inexact):
                continue
            expected64, got64 = expected.astype(np.float64), got.astype(np.float64)
            if len(original) == 1 and _is_scores(expected):
                expected64, got64 = _centred(expected64), _centred(got64)
            usable = np.isfinite(expected64)
            finite &= bool(usable.all())
            if not np.isfinite(got64[usable]).all():
                raise _differs(f"values of {name}", "finite", "NaN or infinity")
            difference += float(((expected64 - got64)[usable] ** 2).sum())
            energy += float((expected64[usable] ** 2).sum())
    relative = float(np.sqrt(difference / energy)) if energy > 0 else None
    return Comparison(tuple(originals[0]), relative, _agreement(originals, compressed), finite)


def _agreement(originals: Sequence[Outputs], compressed: Sequence[Outputs]) -> float | None:
    """Return how often the largest number stands in the same place, where there is one vector of scores an input."""
    pairs = [
        (next(iter(original.values())), next(iter(other.values())))
        for original, other in zip(originals, compressed, strict=True)
        if len(original) == 1
    ]
    tables = [(a.reshape(len(a), -1), b.reshape(len(b), -1)) for a, b in pairs if _is_scores(a)]
    if len(tables) < len(originals):
        return None
    a, b = (np.concatenate(each) for each in zip(*tables, strict=True))
    finite = np.isfinite(a).all(1)
    return float(np.mean(a[finite].argmax(1) == b[finite].argmax(1))) if finite.any() else None


def _centred(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores, or the logarithms of probabilities, about the mean of each vector."""
    table = scores.reshape(len(scores), -1)
    if (table >= 0).all() and np.abs(table.sum(1) - 1).max() < _PROBABILITY_TOLERANCE:
        table = np.log(np.maximum(table, _LEAST_PROBABILITY))
    centred: NDArray[np.float64] = table - table.mean(1, keepdims=True)
    return centred


def _is_scores(output: NDArray[np.generic]) -> bool:
    """Whether it is one vector of two or more numbers a sample."""
    return (
        output.ndim > 1
        and np.issubdtype(output.dtype, np.floating)
        and output.size == output.shape[0] * max(output.shape[1:])
        and output.size >= 2 * output.shape[0]
    )


def _describe(array: NDArray[np.generic]) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _differs(what: str, expected: object, got: object) -> Refusal:
    return Refusal(
        Code.VERIFICATION_FAILED,
        f"the compressed model differs from the original in the {what} of its outputs",
        expected=str(expected),
        got=str(got),
    )
