"""Which range of values a model's images have: what it gives on some images of each that networks are trained on."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from convpress.calibration import InputValues
from worker.engine.calibration.harness import Subject, WeakCalibrationError
from worker.engine.calibration.inputs.distil import class_scores, statistics_mismatch
from worker.engine.calibration.inputs.ranges import Range, by_scores, known_ranges, told_range
from worker.engine.calibration.inputs.synthetic import dead_leaves
from worker.engine.calibration.replay import Batch
from worker.engine.program import run

_SAME = 1e-6
_NOT_FINITE = "NaN or infinity"


def probed_ranges(
    found: Subject, told: InputValues | None, probes: int
) -> tuple[tuple[Range, ...], str]:
    """Return the ranges of values to make inputs in, and in words how they were found, on so many images of each.

    Raises:
        WeakCalibrationError: in no range does the model give finite numbers that differ between inputs.
    """
    channels = found.images[0].channels
    are_whole = all(images.is_whole for images in found.images)
    known = (
        known_ranges(channels)[: 1 if are_whole else None]
        if told is None
        else (told_range(told, channels),)
    )
    given = dict(_probed(found, values, probes) for values in known)
    finite = tuple(values for values, tried in given.items() if not isinstance(tried, str))
    if not finite:
        said = " or ".join(
            dict.fromkeys(tried for tried in given.values() if isinstance(tried, str))
        )
        raise WeakCalibrationError(f"on synthetic inputs the model gives {said}")
    if told is not None:
        return finite, "told"
    if are_whole:
        return finite, "the inputs are whole numbers"
    if found.program.normalises:
        best = min(finite, key=lambda values: _statistics_mismatch(found, values, probes))
        return (best,), "the statistics of the model's normalisation"
    told_apart = {values: table for values, table in given.items() if isinstance(table, Tensor)}
    if told_apart:
        return by_scores(told_apart), "how well the model tells synthetic images apart"
    return finite[:2], "nothing tells: several usual ranges are covered"


def _probed(found: Subject, values: Range, count: int) -> tuple[Range, Tensor | str | None]:
    """Return what `probe` does of a range, or of it within strict limits, where what lies beyond them is too much."""
    tried = probe(found, values, count)
    if not isinstance(tried, str) or tried != _NOT_FINITE:
        return values, tried
    strict = replace(values, strict=True)
    return strict, probe(found, strict, count)


@torch.no_grad()
def probe(found: Subject, values: Range, count: int) -> Tensor | str | None:
    """Return a classifier's scores in a range, None of another model; or say what it gives that teaches nothing."""
    tables: list[Tensor] = []
    first: list[Tensor] | None = None
    differ = False
    for batch in _images(found, values, max(count, 2 * found.batch)):
        outputs = run(found.program, batch)
        floating = [y for y in outputs if isinstance(y, Tensor) and y.is_floating_point()]
        if not all(bool(y.isfinite().all()) for y in floating):
            return _NOT_FINITE
        table = class_scores(outputs, found.batch)
        tables += [] if table is None else [table]
        differ = differ or not floating or (first is not None and not _are_same(first, floating))
        first = floating if first is None else first
    if not differ:
        return "the same outputs whatever the inputs"
    return torch.cat(tables) if tables else None


def _are_same(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return all(
        a.shape == b.shape and torch.allclose(a, b, _SAME, 0)
        for a, b in zip(first, second, strict=True)
    )


@torch.no_grad()
def _statistics_mismatch(found: Subject, values: Range, count: int) -> float:
    return sum(
        float(statistics_mismatch(found.program, batch)) for batch in _images(found, values, count)
    )


def _images(found: Subject, values: Range, count: int) -> list[Batch]:
    return found.synthetic(dead_leaves, values, count, 3)
