"""The chosen factors, fitted closed-form, and what the sequential refit makes of them where held-out inputs approve.

A refit can hurt, where calibration inputs are few or unlike the real ones; so it is kept only if it brings the outputs
closer to the original's on inputs that another generator made.
"""

from dataclasses import dataclass

from worker.engine.calibration.calibrate import Calibration
from worker.engine.calibration.refit import Chains, refit
from worker.engine.calibration.sensitivity import output_error


@dataclass(frozen=True)
class Refinement:
    """The layers to write, whether they were refitted, and the output error on held-out inputs before and after."""

    chains: Chains
    refitted: bool
    error_before: float
    error_after: float


def refine(calibration: Calibration, chains: Chains) -> Refinement:
    """Return the chains refitted where that lowers the output error on held-out inputs, else as they are."""
    program = calibration.program
    refitted = refit(program, calibration.batches, chains, calibration.observation.statistics)
    before, after = (output_error(program, calibration.held_out, made) for made in (chains, refitted))
    return Refinement(refitted if after < before else chains, after < before, before, after)
