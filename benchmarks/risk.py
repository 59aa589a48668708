"""Levels of risk against true losses: trained networks, compressed well and badly on purpose.

    python benchmarks/risk.py --zoo ZOO [--networks NAME ...] [--cases NAME ...]
        [--keeps KEEP ...] [--images N] [--output docs]

ZOO is as in `accuracy.py`. A case is a way to calibrate: as the product does without data, on real
images, on few real images, by the weights alone, or with a wrong range of values. Printed are, for
every network, case and budget, the level that a report gives, the figures that it stands on, and
the points of accuracy (or the decibels) that real labelled images lost; then the rank correlation
of level and loss, and how many levels mislead: low with more than five points lost, high with less
than two. Figures go to risk.json in the output folder.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from accuracy import Case, limit, load_zoo, points_at, score
from scipy.stats import spearmanr

from worker.engine.selection.analysis import Analysis

KEEPS = (0.8, 0.6, 0.5, 0.4, 0.3)
FEW_IMAGES = 10
LEVELS = ("low", "moderate", "high")
MOST_LOST_AT_LOW = 5.0
LEAST_LOST_AT_HIGH = 2.0

Calibrate = Callable[[ModuleType, str, Case], Analysis]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--networks", nargs="*")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--keeps", nargs="*", type=float, default=list(KEEPS))
    parser.add_argument("--images", type=int, help="score on the first N test images only")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    zoo = load_zoo(arguments.zoo / "measure.py")
    if arguments.images:
        limit(zoo, arguments.images)
    rows: list[dict[str, Any]] = []
    for network in arguments.networks or zoo.NETWORKS:
        for case in cases_of(zoo, network, arguments.cases):
            rows += measure(zoo, arguments.zoo, network, case, arguments.keeps)
            if arguments.output:
                (arguments.output / "risk.json").write_text(json.dumps(rows, indent=1) + "\n")
    print_table(rows)


def cases_of(zoo: ModuleType, network: str, names: Sequence[str]) -> list[str]:
    """Return the cases that a network has images for: a denoiser of the zoo has no samples."""
    has_samples = zoo.NETWORKS[network]["scale"] is not None
    return [name for name in names if has_samples or name == "without data"]


def measure(
    zoo: ModuleType, folder: Path, network: str, case: str, keeps: Sequence[float]
) -> list[dict[str, Any]]:
    """Return a row for each budget of one network and case."""
    model = Case(folder / f"{network}.onnx", zoo.NETWORKS[network]["shape"])
    original = score(zoo, network, model, {})
    analysis = CASES[case](zoo, network, model)
    rows = []
    pairs = zip(keeps, points_at(model, analysis, keeps), strict=True)
    for keep, (chains, notes) in pairs:
        if chains is None:
            continue
        lost = original - score(zoo, network, model, chains)
        row = {"network": network, "case": case, "keep": keep, "lost": round(lost, 2), **notes}
        print(f"  {row}", flush=True)
        rows.append(row)
    return rows


def without_data(_zoo: ModuleType, _network: str, model: Case) -> Analysis:
    """Calibrate as the product does where nothing is sent."""
    return model.analyse()


def wrong_range(zoo: ModuleType, network: str, model: Case) -> Analysis:
    """Calibrate in a range that is an eighth of the right one, as a wrong setting would."""
    [images, _] = zoo.inputs(network)
    low, high = float(images.min()) / 8, float(images.max()) / 8
    return model.analyse(input_range=f"{low},{high}")


def real_images(zoo: ModuleType, network: str, model: Case) -> Analysis:
    """Calibrate on all real images."""
    return on_images(model, zoo.calibration(network))


def few_real_images(zoo: ModuleType, network: str, model: Case) -> Analysis:
    """Calibrate on too few real images."""
    return on_images(model, zoo.calibration(network)[:FEW_IMAGES])


def on_images(model: Case, images: np.ndarray) -> Analysis:
    """Calibrate on these images as samples."""
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file.name, **{model.model.inputs[0].name: images})
        return model.analyse(calibration="samples", samples=file.name)


CASES: Mapping[str, Calibrate] = {
    "without data": without_data,
    "wrong range": wrong_range,
    "real images": real_images,
    "few real images": few_real_images,
}


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print all rows, the rank correlation, and the levels that mislead."""
    print("\n| network | case | keep | lost | level | measured | predicted | agreement |")
    print("|---" * 8 + "|")
    for row in rows:
        figures = (row.get(name) for name in ("relative_error", "predicted_error", "agreement"))
        cells = [f"{figure:.3f}" if figure is not None else "-" for figure in figures]
        print(
            f"| {row['network']} | {row['case']} | {row['keep']:g} | {row['lost']:.2f} "
            f"| {row['risk']} | {' | '.join(cells)} |"
        )
    known = [row for row in rows if row["risk"] in LEVELS]
    levels = [LEVELS.index(row["risk"]) for row in known]
    lost = [row["lost"] for row in known]
    if len(set(levels)) > 1:
        print(f"\nrank correlation of level and loss: {spearmanr(levels, lost).statistic:.2f}")
    low = sum(row["risk"] == "low" and row["lost"] > MOST_LOST_AT_LOW for row in known)
    high = sum(row["risk"] == "high" and row["lost"] < LEAST_LOST_AT_HIGH for row in known)
    print(f"low with more than {MOST_LOST_AT_LOW:g} points lost: {low} of {len(known)}")
    print(f"high with less than {LEAST_LOST_AT_HIGH:g} points lost: {high} of {len(known)}")


if __name__ == "__main__":
    main()
