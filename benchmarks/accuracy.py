"""Accuracy after compression: trained networks, scored on real labelled images, at six budgets.

    python benchmarks/accuracy.py --zoo ZOO [--networks NAME ...] [--rows NAME ...]
        [--keeps KEEP ...] [--images N] [--target TARGET | --host TARGET] [--output docs]

ZOO is a folder of networks with images and a `measure.py` that loads them. Printed is the score
(top-1 in per cent, or PSNR in dB) of the original and, a row each, of

- `dac uniform`: the paper's method, the highest rank that fits, the same everywhere;
- `dac`, `weights`: DAC and all forms with allocated ranks, from the weights alone;
- `torchscript`, `onnx`: the product without data, from either file;
- `pt2`: the same from the TorchScript file as torch converts it to a program of torch.export;
- `real`: the same calibrated on the zoo's own real images;
- `balf`: channel decomposition under the uncentred moments of real images, as BALF does (arXiv
  2509.25136).

With a target, layers are chosen by the cost table that the package brings for it. With a host, they
are chosen as in jobs without a target on such a host, which keep the time by that table. Without
either, FLOPs alone decide. Compressed models are scored by the engine's program
of the original with the sites replaced, which is the arithmetic of the artifact. Figures go to
accuracy.json in the output folder, with those that earlier runs have left there of other networks,
and of the same network's other rows where these are of the same images and budgets;
accuracy_chart.py draws all of them in accuracy.svg.
"""

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from accuracy_chart import draw
from scipy.stats import spearmanr
from zoo.from_torchscript import write_program

from app.settings import get_settings
from convpress.budgets import FLOPS
from convpress.gate.identify import identify
from convpress.targets import TARGETS
from worker.engine.calibration.chains import run_chain
from worker.engine.comparison_inputs import ComparisonInputs
from worker.engine.costs import table_file
from worker.engine.costs.table import CostTable
from worker.engine.formats import open_model
from worker.engine.model import CostProfile, Model, OpenedModel
from worker.engine.numerics.moments import Moments
from worker.engine.program import run
from worker.engine.progress import Progress
from worker.engine.request import Request
from worker.engine.risk import assess
from worker.engine.selection.analysis import Analysis, analyse
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.enumeration import candidates_of_forms
from worker.engine.selection.input_statistics import Uncalibrated
from worker.engine.selection.objective import FixedRank, Objective, choose
from worker.engine.selection.replacements import factor, refit_replacements
from worker.engine.verify import compare, worst
from worker.jobs.cost_tables import request_members

KEEPS = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
ROWS = ("dac uniform", "dac", "weights", "torchscript", "pt2", "onnx", "real", "balf")
FORMATS = ("torchscript", "pt2", "onnx")
"""The rows of the product without data, from a file of each format."""
MOST_UNIFORM = 9


class Case:
    """One model file of the zoo, opened, counted and taken apart."""

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        target: str | None = None,
        *,
        decides: bool = True,
    ) -> None:
        self.format = identify(path)
        self.decides = decides
        self.table: CostTable | None = None
        if target is not None:
            members = request_members(get_settings(), self.format, target, None)
            self.table = table_file.read(Path(members["costs"]), self.format)
        self.path = path
        self.model: Model = open_model(self.format, path)
        self.opened = OpenedModel(
            self.format, path, self.model, self.model.bind({"": shape})
        )
        self.count: CostProfile = self.opened.profile
        self.program = self.model.program()

    def analyse(self, **asked: Any) -> Analysis:  # noqa: ANN401 - whatever a request has
        """Analyse as a job with these settings does."""
        request = Request(str(self.path), self.format, "", "", **asked)
        return analyse(request, self.opened, Progress(lambda *_: None), self.table)

    def runner(self, chains: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function that runs a compressed model: arrays in, arrays out."""
        replaced = {
            site: lambda x, layers=layers: run_chain(layers, x)
            for site, layers in chains.items()
        }

        @torch.no_grad()
        def outputs(x: np.ndarray) -> np.ndarray:
            batch = torch.from_numpy(x)
            if batch.dim() == 4:
                batch = batch.contiguous(memory_format=torch.channels_last)
            return run(self.program, {self.program.inputs[0]: batch}, replaced)[
                0
            ].numpy()

        return outputs


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--networks", nargs="*")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS)
    parser.add_argument("--keeps", nargs="*", type=float, default=list(KEEPS))
    parser.add_argument(
        "--images", type=int, help="score on the first N test images only"
    )
    parser.add_argument(
        "--target", choices=TARGETS, help="choose layers by its cost table"
    )
    parser.add_argument(
        "--host", choices=TARGETS, help="choose as jobs without a target on such a host"
    )
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    zoo = load_zoo(arguments.zoo / "measure.py")
    if arguments.images:
        limit(zoo, arguments.images)
    figures = {}
    for network in arguments.networks or zoo.NETWORKS:
        shape = zoo.NETWORKS[network]["shape"]
        target = arguments.target or arguments.host
        decides = arguments.host is None
        with tempfile.TemporaryDirectory() as folder:
            paths = {
                "onnx": arguments.zoo / f"{network}.onnx",
                "torchscript": arguments.zoo / f"{network}.ts.pt",
            }
            if "pt2" in arguments.rows:
                paths["pt2"] = Path(folder) / "model.pt2"
                write_program(paths["torchscript"], shape, paths["pt2"])
            cases = {
                name: Case(path, shape, target, decides=decides)
                for name, path in paths.items()
            }
        figures[network] = measure(zoo, cases, network, arguments.rows, arguments.keeps)
        print_table(network, figures[network])
        if arguments.output:
            write(arguments.output, figures)


def measure(
    zoo: ModuleType,
    cases: Mapping[str, Case],
    network: str,
    rows: Sequence[str],
    keeps: Sequence[float],
) -> dict[str, Any]:
    """Score one network, from a file of each format, at every budget, row by row."""
    scores: dict[str, Any] = {
        "metric": zoo.NETWORKS[network]["metric"],
        "original": score(zoo, network, cases["onnx"], {}),
        "images": len(
            zoo._noisy() if network.startswith("denoise") else zoo.inputs(network)[1]
        ),
        "keeps": list(keeps),
    }
    for row in rows:
        case = cases[row if row in FORMATS else "torchscript"]
        start = time.perf_counter()
        points = (
            [uniform(case, keep) for keep in keeps]
            if row == "dac uniform"
            else budgets(zoo, network, case, row, keeps)
        )
        cells = []
        for chains, notes in points:
            cells.append(
                None
                if chains is None
                else {"score": score(zoo, network, case, chains), **notes}
            )
            print(
                f"  {network} {row} {cells[-1]} {time.perf_counter() - start:.0f} s",
                flush=True,
            )
        scores[row] = {"cells": cells, "seconds": round(time.perf_counter() - start, 1)}
    return scores


def budgets(
    zoo: ModuleType, network: str, case: Case, row: str, keeps: Sequence[float]
) -> list[tuple[Any, dict[str, Any]]]:
    """Return the layers and their predictions at each budget; None for one out of reach."""
    if row in ("real", "balf"):
        analysis = on_real(zoo, network, case, balf=row == "balf")
    elif row in ("dac", "weights"):
        analysis = case.analyse(
            calibration="none", form="dac" if row == "dac" else None
        )
    else:
        analysis = case.analyse()
    if not isinstance(analysis.calibration, Uncalibrated):
        print(f"  {network} {row} {analysis.calibration.report_members}", flush=True)
    return points_at(case, analysis, keeps)


def points_at(
    case: Case, analysis: Analysis, keeps: Sequence[float]
) -> list[tuple[Any, dict[str, Any]]]:
    """Return the layers and their predictions at each budget; None for one out of reach."""
    results: list[tuple[Any, dict[str, Any]]] = []
    for keep in keeps:
        try:
            budget = BoundBudget.of(
                FLOPS.parse(str(keep)), case.opened, analysis.candidates
            )
            objective = Objective(
                (budget,), times_decide=case.decides, keeps_time=not case.decides
            )
            chosen = choose(analysis, objective)
        except ValueError:
            results.append((None, {}))
            continue
        chains, refit_choice = refit_replacements(
            case.model, analysis, chosen, factor(case.model, analysis, chosen)
        )
        notes: dict[str, Any] = {"predicted_error": analysis.predicted_error(chosen)}
        if refit_choice is not None:
            notes |= {
                "held_out": [refit_choice.error_before, refit_choice.error_after],
                **judged(case, analysis, chains, notes["predicted_error"]),
            }
        results.append((chains, notes))
    return results


def uniform(case: Case, keep: float) -> tuple[Any, dict[str, Any]]:
    """Return the layers of the paper's method at the highest rank that fits the budget."""
    for rank in range(MOST_UNIFORM, 0, -1):
        analysis = case.analyse(calibration="none", form="dac", rank=rank)
        chosen = choose(analysis, FixedRank("dac", rank))
        if sum(candidate.macs for candidate in chosen) <= keep * case.count.macs:
            return factor(case.model, analysis, chosen), {"rank": rank}
    return None, {}


def on_real(zoo: ModuleType, network: str, case: Case, *, balf: bool) -> Analysis:
    """Analyse on the zoo's real images: as the product does, or as BALF does."""
    if network.startswith("denoise"):
        images = np.concatenate([noisy[:, :, :256, :256] for noisy, _ in zoo._noisy()])
    else:
        images = zoo.calibration(network)
    samples = {case.model.inputs[0].name: images}
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file.name, **samples)
        analysis = case.analyse(calibration="samples", samples=file.name)
    calibration = analysis.calibration
    assert not isinstance(calibration, Uncalibrated)
    if not balf:
        return analysis
    uncentred = {
        site: Moments.of(
            np.zeros_like(known.mean),
            known.covariance + known.mean[:, :, None] * known.mean[:, None, :],
        )
        for site, known in calibration.moments.by_site.items()
        if known.covariance is not None
    }
    candidates = []
    for site in case.count.sites:
        form = "grouped" if site.convolution and site.convolution.k2 > 1 else "low-rank"
        moments = uncentred.get(site.name)
        candidates.append(candidates_of_forms(case.model, site, form, moments))
    return Analysis(tuple(candidates), {}, Uncalibrated("BALF"))


def judged(
    case: Case, analysis: Analysis, chains: Mapping[str, Any], predicted: float
) -> dict[str, Any]:
    """Return the error of the compressed model's outputs on fresh inputs, as a report gives it."""
    calibration = analysis.calibration
    assert not isinstance(calibration, Uncalibrated)
    name = case.program.inputs[0]
    original, compressed = case.runner({}), case.runner(chains)
    judging = calibration.judging
    comparisons = {}
    for group, batches in judging.groups.items():
        images = [batch[name].numpy() for batch in batches]
        comparisons[group] = compare(
            [{"": original(each)} for each in images],
            [{"": compressed(each)} for each in images],
        )
    inputs = ComparisonInputs(
        judging.source,
        dict.fromkeys(judging.groups, ()),
        judging.doubts,
        judging.like_truth,
    )
    trusted = predicted if analysis.weights else None
    comparison = worst(comparisons)
    return {
        "agreement": comparison.agreement,
        "relative_error": comparison.relative_error,
        "spread_error": comparison.spread_error,
        "risk": assess(comparisons, inputs, trusted, unchanged=False).level,
    }


def score(
    zoo: ModuleType, network: str, case: Case, chains: Mapping[str, Any]
) -> float:
    """Return the network's own metric."""
    return round(float(zoo.score(network, case.runner(chains), batch=25)), 2)


def print_table(network: str, figures: Mapping[str, Any]) -> None:
    """Print one network's table, and how well lost accuracy is predicted."""
    print(f"\n{network}: {figures['original']:.2f} {figures['metric']}")
    print("| row | " + " | ".join(f"{keep:g}" for keep in figures["keeps"]) + " |")
    print("|---" * (1 + len(figures["keeps"])) + "|")
    for row in ROWS:
        if row in figures:
            cells = [
                "-" if cell is None else f"{cell['score']:.2f}"
                for cell in figures[row]["cells"]
            ]
            print(f"| {row} | " + " | ".join(cells) + " |")
    for row in FORMATS:
        cells = [
            cell
            for cell in figures.get(row, {"cells": ()})["cells"]
            if cell is not None
        ]
        if len(cells) > 2:
            lost = [figures["original"] - cell["score"] for cell in cells]
            print(f"{row}: risk {', '.join(cell.get('risk', '-') for cell in cells)}")
            for field in ("predicted_error", "relative_error"):
                told_of = [cell[field] for cell in cells if field in cell]
                if len(told_of) == len(lost):
                    print(
                        f"{row}: rank correlation of {field} and lost score "
                        f"{spearmanr(told_of, lost).statistic:.2f}"
                    )
    print(flush=True)


def write(folder: Path, figures: Mapping[str, Any]) -> None:
    """Write the figures as JSON and as a chart."""
    path = folder / "accuracy.json"
    if path.exists():
        earlier = json.loads(path.read_text())["networks"]
        for network, latest in figures.items():
            earlier[network] = _merged(earlier.get(network, {}), latest)
        figures = earlier
    path.write_text(json.dumps({"networks": figures}, indent=1) + "\n")
    draw(folder / "accuracy.svg", figures)


def _merged(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the later rows, with an earlier run's where images and budgets are the same."""
    is_same = all(
        earlier.get(key) == later[key] for key in ("original", "images", "keeps")
    )
    return {**earlier, **later} if is_same else later


def load_zoo(path: Path) -> ModuleType:
    """Return a zoo's `measure.py` as a module."""
    spec = importlib.util.spec_from_file_location("zoo_measure", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def limit(zoo: ModuleType, images: int) -> None:
    """Score on fewer images: evenly spread ones, as the test images come class by class."""
    load = zoo.inputs

    def inputs(network: str, part: str = "test") -> tuple[np.ndarray, np.ndarray]:
        x, y = load(network, part)
        if part != "test":
            return x, y
        picked = np.linspace(0, len(x) - 1, min(images, len(x))).astype(int)
        return x[picked], y[picked]

    zoo.inputs = inputs


if __name__ == "__main__":
    main()
