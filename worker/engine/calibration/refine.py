"""What is made of the chosen factors: fitted closed-form, then refitted, then tuned, as far as held-out inputs approve.

Each stage may hurt, where calibration inputs are few or unlike the real ones; so each is kept only if it brings the
outputs closer to the original's on inputs that another generator made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.calibration.calibrate import MOST_WORK, TRAINING_PASSES, Calibration
from worker.engine.calibration.execute import execute
from worker.engine.calibration.refit import Chains, chain, refit
from worker.engine.calibration.tune import tune
from worker.engine.calibration.walk import Batch
from worker.engine.convolution import Layer
from worker.engine.program import Program

_MOST_STEPS, _FEWEST_STEPS = 400, 50


@dataclass(frozen=True)
class Refinement:
    """The layers to write, the stage that made them, and every stage's error on held-out inputs."""

    chains: dict[str, tuple[Layer, ...]]
    stage: str
    errors: dict[str, float]


def refine(calibration: Calibration, chains: Chains, keep: float) -> Refinement:
    """Return the best of the chains as they are, refitted, and tuned; `keep` is the share of the cost that is left."""
    program, batches, held_out = calibration.program, calibration.batches, calibration.held_out
    best = dict(chains)
    stage = "closed form"
    errors = {stage: output_error(program, held_out, best)}
    for name in ("refitted", "tuned"):
        if name == "refitted":
            candidate = refit(program, batches, best, calibration.observation.statistics)
        elif (steps := _tuning_steps(calibration, keep)) >= _FEWEST_STEPS:
            candidate = tune(program, batches, best, steps)
        else:
            continue
        errors[name] = output_error(program, held_out, candidate)
        if errors[name] < errors[stage]:
            best, stage = candidate, name
    return Refinement(best, stage, errors)


def _tuning_steps(calibration: Calibration, keep: float) -> int:
    """Return how many steps of tuning the work allowed pays for."""
    samples = len(next(iter(calibration.batches[0].values())))
    step = samples * calibration.sample_macs * (1 + TRAINING_PASSES * keep)
    return min(_MOST_STEPS, int(MOST_WORK / step))


@torch.no_grad()
def output_error(program: Program, batches: Sequence[Batch], chains: Chains) -> float:
    """Return the squared error of all outputs over their variance about the mean sample."""
    replaced = {site: lambda x, layers=layers: chain(layers, x) for site, layers in chains.items()}
    difference = energy = 0.0
    for batch in batches:
        wanted, given = execute(program, batch, {}), execute(program, batch, replaced)
        for a, b in zip(wanted, given, strict=True):
            if isinstance(a, Tensor) and a.is_floating_point():
                difference += float((a.double() - b.double()).square().sum())
                energy += float((a.double() - a.double().mean()).square().sum())
    return difference / energy if energy > 0 else difference
