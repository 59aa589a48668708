"""The map from the measured error of a classifier to the right answers that it will lose.

    python benchmarks/risk_map.py docs/accuracy.json [docs/risk.json ...]

Reads the figures of `accuracy.py` and `risk.py`: for each compressed classifier, the error of its
outputs on inputs that nothing was fitted to, relative to their spread from sample to sample, and
the share of the original's right answers that it lost on real labelled images. Fits

    loss = 1 - exp(-(error / scale) ** power)

by least squares on the scale asin(sqrt(loss)), on which a share of few images scatters alike
everywhere. All networks weigh the same, however many models of each there are. Networks differ in
how large an error makes them lose as much: the band is the factor of the error between which eight
in ten of the cases lie. Every network is predicted by the map of the others alone: printed are the
rank correlation of these predictions with the losses, how many levels by this band mislead, and the
constants of `convpress/risk_levels.py`.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import spearmanr

from convpress.risk_levels import HIGH_FROM, LOW_UP_TO

ROWS_OF_ACCURACY = ("torchscript", "onnx", "real")
BAND = (0.1, 0.9)
# Losses between these can be told from none and from all.
TOLD = (0.01, 0.95)
MOST_LOST_AT_LOW = 5.0
LEAST_LOST_AT_HIGH = 2.0

Floats = NDArray[np.float64]


class Case(NamedTuple):
    """A compressed classifier: its error, the share of right answers lost, and points lost."""

    network: str
    error: float
    loss: float
    points: float


def main() -> None:
    """Fit, validate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    cases = [case for path in parser.parse_args().files for case in cases_of(path)]
    networks = sorted({case.network for case in cases})
    folds = [Fold(cases, network) for network in networks]
    low_factor, high_factor = np.quantile(
        np.concatenate([fold.factors for fold in folds]), BAND
    )
    points = np.concatenate([fold.points for fold in folds])
    predicted = np.concatenate([fold.predicted(1.0) for fold in folds])
    is_low = (
        np.concatenate([fold.predicted(high_factor) for fold in folds]) <= LOW_UP_TO
    )
    is_high = (
        np.concatenate([fold.predicted(low_factor) for fold in folds]) >= HIGH_FROM
    )
    print(
        f"{len(cases)} compressed models of {len(networks)} networks, each network left out:"
    )
    print(
        f"rank correlation of loss and prediction: {spearmanr(predicted, points).statistic:.2f}"
    )
    lost_much = points > MOST_LOST_AT_LOW
    lost_little = points < LEAST_LOST_AT_HIGH
    print(
        f"low with more than {MOST_LOST_AT_LOW:g} points lost: {mislead(is_low, lost_much)}"
    )
    print(
        f"high with less than {LEAST_LOST_AT_HIGH:g} points lost: {mislead(is_high, lost_little)}"
    )
    print(f"moderate: {int((~is_low & ~is_high).sum())} of {len(cases)}")
    scale, power = fitted(cases)
    print(f"SCALE, POWER = {scale:.2f}, {power:.2f}")
    print(f"BAND = ({low_factor:.2f}, {high_factor:.2f})")


def cases_of(path: Path) -> Iterator[Case]:
    """Yield the classifiers of a file of either benchmark."""
    content = json.loads(path.read_text())
    if isinstance(content, list):
        yield from (
            _case(row["network"], row["original"], row)
            for row in content
            if _counts(row)
        )
        return
    for network, figures in content["networks"].items():
        for name in ROWS_OF_ACCURACY:
            for cell in figures.get(name, {"cells": ()})["cells"]:
                if cell is not None and _counts(cell):
                    lost = figures["original"] - cell["score"]
                    yield _case(network, figures["original"], {**cell, "lost": lost})


def _counts(cell: dict[str, Any]) -> bool:
    """Whether a cell is of a classifier whose error was measured."""
    is_classifier = cell.get("agreement") is not None
    return is_classifier and (
        cell.get("spread_error") is not None or "held_out" in cell
    )


def _case(network: str, original: float, cell: dict[str, Any]) -> Case:
    """Return a case; accuracy.json of earlier versions has the error that chose the refit."""
    error = cell.get("spread_error")
    if error is None:
        error = min(cell["held_out"]) ** 0.5
    loss = min(max(cell["lost"] / original, 0), 1)
    return Case(network, error, loss, cell["lost"])


class Fold:
    """One network's cases, and the map that is fitted to those of the other networks."""

    def __init__(self, cases: Sequence[Case], network: str) -> None:
        own = [case for case in cases if case.network == network]
        self.points = np.array([case.points for case in own])
        self._errors = np.array([case.error for case in own])
        self._losses = np.array([case.loss for case in own])
        self._map = fitted([case for case in cases if case.network != network])

    def predicted(self, factor: float) -> Floats:
        """Return the expected losses at a factor of the errors."""
        return mapped(factor * self._errors, *self._map)

    @property
    def factors(self) -> Floats:
        """The factors of the errors at which the map gives the true losses, where it tells them."""
        scale, power = self._map
        known = (self._losses >= TOLD[0]) & (self._losses <= TOLD[1])
        errors = scale * (-np.log1p(-self._losses[known])) ** (1 / power)
        return np.asarray(errors / self._errors[known])


def fitted(cases: Sequence[Case]) -> tuple[float, float]:
    """Return scale and power of the map, to which each network counts as much as any other."""
    errors = np.array([case.error for case in cases])
    losses = scaled(np.array([case.loss for case in cases]))
    models = Counter(case.network for case in cases)
    weights = np.array([models[case.network] ** -0.5 for case in cases])

    def residuals(parameters: Floats) -> Floats:
        return (scaled(mapped(errors, *parameters)) - losses) * weights

    fit = least_squares(residuals, [1.0, 1.0], bounds=([0.01, 0.1], [10, 20]))
    return float(fit.x[0]), float(fit.x[1])


def mapped(errors: Floats, scale: float, power: float) -> Floats:
    """Return the expected losses."""
    return np.asarray(-np.expm1(-((errors / scale) ** power)))


def scaled(losses: Floats) -> Floats:
    """Return losses on the scale on which they scatter alike."""
    return np.asarray(np.arcsin(np.sqrt(losses)))


def mislead(level: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> str:
    """Return the number of wrong cases of a level, in words."""
    return f"{int((level & wrong).sum())} of {int(level.sum())}"


if __name__ == "__main__":
    main()
