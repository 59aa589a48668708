"""Levels of risk against true losses: trained networks, compressed well and badly on purpose.

    python benchmarks/risk.py --zoo ZOO [--networks NAME ...] [--cases NAME ...] [--ways NAME ...]
        [--keeps KEEP ...] [--images N] [--torchscript] [--output docs]

ZOO is as in `accuracy.py`. A case is a way to calibrate: as the product does without data, on few
synthetic images, on real images, on few real images, in a wrong range of values, or on samples of
another kind. A way is what
becomes of the analysis: the product's layers, those without a refit, or those of ranks that are
chosen without the weights of the sites. All budgets and ways of a case share its analysis.

Printed are, for every network, case, way and budget, the level that a report gives, the figures
that it stands on, the share of real images whose class changed, and the points of accuracy (or the
decibels) that they lost; then the rank correlation of level and loss, and how many levels mislead:
low with more than five points lost, high with less than two. Figures go to risk.json in the output
folder, in the place of earlier ones of the same network, case and way.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
from accuracy import Case, judged, limit, load_zoo, score
from scipy.stats import spearmanr

from convpress.budgets import FLOPS
from worker.engine.calibration import calibrate
from worker.engine.calibration.effort import Effort
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.objective import Objective, choose
from worker.engine.selection.replacements import factor, refit_replacements

KEEPS = (0.8, 0.6, 0.5, 0.4, 0.3)
WAYS = ("refitted", "closed form", "unweighted")
FEW_IMAGES = 10
FEW_SYNTHETIC = Effort(most_images=48, images_beside_distilled=48)
LEVELS = ("low", "moderate", "high")
MOST_LOST_AT_LOW = 5.0
LEAST_LOST_AT_HIGH = 2.0

Calibrate = Callable[[ModuleType, str, Case], Analysis]
Row = Mapping[str, Any]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--networks", nargs="*")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument("--keeps", nargs="*", type=float, default=list(KEEPS))
    parser.add_argument(
        "--images", type=int, help="score on the first N test images only"
    )
    parser.add_argument(
        "--torchscript", action="store_true", help="the TorchScript, not the ONNX"
    )
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    zoo = load_zoo(arguments.zoo / "measure.py")
    if arguments.images:
        limit(zoo, arguments.images)
    suffix = "ts.pt" if arguments.torchscript else "onnx"
    rows: list[Row] = []
    for network in arguments.networks or zoo.NETWORKS:
        file = f"{network}.{suffix}"
        for case in cases_of(zoo, network, arguments.cases):
            model = Case(arguments.zoo / file, zoo.NETWORKS[network]["shape"])
            analysis = CASES[case](zoo, network, model)
            for way in arguments.ways:
                rows += measure(
                    zoo, network, model, analysis, way, arguments.keeps, case
                )
                if arguments.output:
                    write(arguments.output / "risk.json", rows)
    print_table(rows)


def cases_of(zoo: ModuleType, network: str, names: Sequence[str]) -> list[str]:
    """Return the cases that a network has images for: a denoiser of the zoo has no samples."""
    has_samples = zoo.NETWORKS[network]["scale"] is not None
    return [name for name in names if has_samples or "synthetic" in name]


def measure(
    zoo: ModuleType,
    network: str,
    model: Case,
    analysis: Analysis,
    way: str,
    keeps: Sequence[float],
    case: str,
) -> list[Row]:
    """Return a row for each budget of one network, case and way."""
    original = Scored(zoo, network, model, {})
    rows = []
    for keep, chains, notes in points(model, analysis, way, keeps):
        compressed = Scored(zoo, network, model, chains)
        row = {
            "network": network,
            "format": model.format,
            "case": case,
            "way": way,
            "keep": keep,
            "original": original.score,
            "lost": round(original.score - compressed.score, 2),
            "changed": original.changed_in(compressed),
            **notes,
        }
        print(f"  {row}", flush=True)
        rows.append(row)
    return rows


class Scored:
    """A network's score on the test images, and its class of each of them."""

    def __init__(
        self, zoo: ModuleType, network: str, model: Case, chains: Mapping[str, Any]
    ) -> None:
        self._classes: list[np.ndarray] = []
        self._runner = model.runner
        self.score = score(zoo, network, self, chains)

    def runner(self, chains: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function that scores a compressed model and keeps the classes it gives."""
        outputs = self._runner(chains)

        def kept(x: np.ndarray) -> np.ndarray:
            y = outputs(x)
            if y.ndim == 2:
                self._classes.append(y.argmax(1))
            return y

        return kept

    def changed_in(self, other: "Scored") -> float | None:
        """Return the share of images that another network gives another class; None without any."""
        if not self._classes:
            return None
        own, others = np.concatenate(self._classes), np.concatenate(other._classes)
        return round(float(np.mean(own != others)), 4)


def points(
    model: Case, analysis: Analysis, way: str, keeps: Sequence[float]
) -> Iterator[tuple[float, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield each budget that is in reach, the layers at it, and what a report says of them."""
    weighted = analysis
    if way == "unweighted":
        weighted = Analysis(
            analysis.candidates,
            {},
            analysis.calibration,
            model_format=analysis.model_format,
        )
    for keep in keeps:
        try:
            budget = BoundBudget.of(
                FLOPS.parse(str(keep)), model.opened, analysis.candidates
            )
            chosen = choose(weighted, Objective((budget,)))
        except ValueError:
            continue
        chains = factor(model.model, weighted, chosen)
        predicted = weighted.predicted_error(chosen)
        notes: dict[str, Any] = {"predicted_error": predicted}
        if way != "closed form":
            chains, refit_choice = refit_replacements(
                model.model, weighted, chosen, chains
            )
            assert refit_choice is not None
            notes["held_out"] = [refit_choice.error_before, refit_choice.error_after]
        yield keep, chains, notes | judged(model, weighted, chains, predicted)


def synthetic(_zoo: ModuleType, _network: str, model: Case) -> Analysis:
    """Calibrate as the product does where nothing is sent."""
    return model.analyse()


def few_synthetic(_zoo: ModuleType, _network: str, model: Case) -> Analysis:
    """Calibrate on too few synthetic images."""
    few = partial(calibrate.calibrate, effort=FEW_SYNTHETIC)
    with patch.object(calibrate, "calibrate", few):
        return model.analyse()


def wrong_range(
    zoo: ModuleType, network: str, model: Case, factor: float = 1 / 8
) -> Analysis:
    """Calibrate in a range that is an eighth of the right one, as a wrong setting would."""
    [images, _] = zoo.inputs(network)
    low, high = factor * float(images.min()), factor * float(images.max())
    return model.analyse(input_range=f"{low},{high}")


def real_images(zoo: ModuleType, network: str, model: Case) -> Analysis:
    """Calibrate on all real images."""
    return on_images(model, zoo.calibration(network))


def few_real_images(zoo: ModuleType, network: str, model: Case) -> Analysis:
    """Calibrate on too few real images."""
    return on_images(model, zoo.calibration(network)[:FEW_IMAGES])


def plain_colours(zoo: ModuleType, network: str, model: Case) -> Analysis:
    """Calibrate on real images that have lost all but their mean colour, as a wrong file would."""
    images = zoo.calibration(network)
    positions = tuple(range(2, images.ndim))
    colours = images.mean(positions, keepdims=True)
    return on_images(
        model, np.ascontiguousarray(np.broadcast_to(colours, images.shape))
    )


def on_images(model: Case, images: np.ndarray) -> Analysis:
    """Calibrate on these images as samples."""
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file.name, **{model.model.inputs[0].name: images})
        return model.analyse(calibration="samples", samples=file.name)


CASES: Mapping[str, Calibrate] = {
    "synthetic": synthetic,
    "few synthetic": few_synthetic,
    "wrong range": wrong_range,
    "far range": partial(wrong_range, factor=255),
    "real images": real_images,
    "few real images": few_real_images,
    "plain colours": plain_colours,
}


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows, with those of earlier runs of other networks, formats, cases and ways."""
    earlier = json.loads(path.read_text()) if path.exists() else []
    members = ("network", "format", "case", "way")
    latest = {tuple(row[name] for name in members) for row in rows}
    kept = [
        row for row in earlier if tuple(row[name] for name in members) not in latest
    ]
    path.write_text(json.dumps([*kept, *rows], indent=1) + "\n")


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print all rows, the rank correlation, and the levels that mislead."""
    print(
        "\n| network | case | way | keep | lost | changed | level | error | spread | same class |"
    )
    print("|---" * 10 + "|")
    for row in rows:
        figures = [
            row[name] for name in ("relative_error", "spread_error", "agreement")
        ]
        cells = ["-" if figure is None else f"{figure:.3f}" for figure in figures]
        changed = "-" if row["changed"] is None else f"{row['changed']:.3f}"
        print(
            f"| {row['network']} ({row['format']}) | {row['case']} | {row['way']} "
            f"| {row['keep']:g} | {row['lost']:.2f} | {changed} "
            f"| {row['risk']} | {' | '.join(cells)} |"
        )
    known = [row for row in rows if row["risk"] in LEVELS]
    levels = [LEVELS.index(row["risk"]) for row in known]
    lost = [row["lost"] for row in known]
    if len(set(levels)) > 1:
        print(
            f"\nrank correlation of level and loss: {spearmanr(levels, lost).statistic:.2f}"
        )
    low = sum(row["risk"] == "low" and row["lost"] > MOST_LOST_AT_LOW for row in known)
    high = sum(
        row["risk"] == "high" and row["lost"] < LEAST_LOST_AT_HIGH for row in known
    )
    print(f"low with more than {MOST_LOST_AT_LOW:g} points lost: {low} of {len(known)}")
    print(
        f"high with less than {LEAST_LOST_AT_HIGH:g} points lost: {high} of {len(known)}"
    )


if __name__ == "__main__":
    main()
