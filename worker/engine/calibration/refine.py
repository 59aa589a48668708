"""The chosen factors, fitted closed-form, and what the sequential refit makes of them where held-out inputs approve.

A refit can hurt, where calibration inputs are few or unlike the real ones; so it is kept only if it brings the outputs
closer to the original's on inputs that another generator made.
"""

from dataclasses import dataclass

from worker.engine.calibration.calibrate import MOST_BYTES, Calibration
from worker.engine.calibration.judge import Judge
from worker.engine.calibration.refit import Chains, refit
from worker.engine.calibration.twin import twin
from worker.engine.program import StepError


@dataclass(frozen=True)
class Refinement:
    """The layers to write, whether they were refitted, and the output error on held-out inputs before and after.

    Where the refit failed, `error_after` is None and `reason` says why.
    """

    chains: Chains
    refitted: bool
    error_before: float
    error_after: float | None
    reason: str | None = None


def refine(calibration: Calibration, chains: Chains) -> Refinement:
    """Return the chains refitted where that lowers the output error on held-out inputs, else as they are."""
    program = calibration.program
    judge = Judge(program, calibration.held_out)
    before = judge.error(chains)
    try:
        fitting = twin(program, calibration.observation.statistics)
        refitted = refit(fitting, calibration.batches, chains, MOST_BYTES)
    except StepError as error:
        return Refinement(chains, False, before, None, f"the model does not run compressed: {error}")
    after = judge.error(refitted)
    return Refinement(refitted if after < before else chains, after < before, before, after)
