"""The chosen factors, fitted closed-form, and what the sequential refit makes of them where held-out inputs approve.

A refit can hurt, where calibration inputs are few or unlike the real ones, and the more the more of each site it fits.
So whole sites are fitted where that is affordable, and last layers alone, and of the two and what was there before that
is kept which brings the outputs closest to the original's on inputs that another generator made.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.engine.calibration.calibrate import MOST_BYTES, Calibration
from worker.engine.calibration.refit.refit import Chains, Origin, refit
from worker.engine.calibration.statistics.batchnorm_statistics import twin
from worker.engine.calibration.statistics.output_error import Judge
from worker.engine.program import StepError

_WORK = 2_000_000_000_000
"""Multiply-accumulates of all images over all sites up to which whole sites are fitted as well: before each of them all
layers may run again."""


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


def refine(calibration: Calibration, chains: Chains, origins: Mapping[str, Origin]) -> Refinement:
    """Return the chains refitted in the way that lowers the output error on held-out inputs most, else as they are."""
    program = calibration.program
    judge = Judge(program, calibration.held_out)
    before = judge.error(chains)
    fitting = twin(program, calibration.observation.statistics)
    work = len(calibration.batches) * calibration.batch * calibration.sample_macs * len(chains)
    try:
        fitted = (origins, {}) if work <= _WORK else ({},)
        ways = [refit(fitting, calibration.batches, chains, some, MOST_BYTES) for some in fitted]
    except StepError as error:
        return Refinement(
            chains, False, before, None, f"the model does not run compressed: {error}"
        )
    errors = [judge.error(refitted) for refitted in ways]
    after = min(errors)
    return Refinement(
        ways[errors.index(after)] if after < before else chains, after < before, before, after
    )
