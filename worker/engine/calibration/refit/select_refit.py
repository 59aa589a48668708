"""The choice between closed-form factors and two refits, by held-out inputs.

A refit can hurt where calibration inputs are few or unlike real ones, and more so the more of each
site it fits. So two refits are tried: of whole sites, where that is affordable, and of the last
layers alone. Of both and the closed-form factors, those with the least output error on inputs from
another generator are chosen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count

from worker.engine.calibration.calibrate import Calibration
from worker.engine.calibration.chains import Chains
from worker.engine.calibration.effort import DEFAULT_EFFORT, Effort
from worker.engine.calibration.refit.refit import Origin, refits
from worker.engine.calibration.statistics.batchnorm_statistics import with_statistics
from worker.engine.calibration.statistics.output_error import OutputError
from worker.engine.program import StepError


@dataclass(frozen=True)
class RefitChoice:
    """The layers to write, whether they were refitted, and the held-out error before and after.

    Where the refit failed, `error_after` is None and `reason` says why.
    """

    chains: Chains
    refitted: bool
    error_before: float
    error_after: float | None
    reason: str | None = None


def select_refit(
    calibration: Calibration,
    chains: Chains,
    origins: Mapping[str, Origin],
    effort: Effort = DEFAULT_EFFORT,
    tell: Callable[[float], object] = lambda _: None,
) -> RefitChoice:
    """Return the chains with the least output error on held-out inputs: refitted or as they are.

    `tell` receives the share of the sites that are fitted, over all refits.
    """
    output_error = OutputError(calibration.judged_program, calibration.held_out)
    before = output_error.of(chains)
    program = with_statistics(calibration.program, calibration.moments.batchnorm)
    last_layers_only: Mapping[str, Origin] = {}
    variants = [last_layers_only]
    if _whole_sites_macs(calibration, chains) <= effort.whole_site_macs:
        variants = [origins, last_layers_only]
    batches = calibration.batches
    fits = len(variants) * sum(step.site in chains for step in program.steps)
    fitted = count(1)

    def tell_site() -> None:
        tell(next(fitted) / fits)

    try:
        refitted = refits(program, batches, chains, variants, effort, tell_site)
    except StepError as error:
        reason = f"the model does not run compressed: {error}"
        return RefitChoice(chains, False, before, None, reason)
    errors = [output_error.of(each) for each in refitted]
    after = min(errors)
    if after < before:
        return RefitChoice(refitted[errors.index(after)], True, before, after)
    return RefitChoice(chains, False, before, after)


def _whole_sites_macs(calibration: Calibration, chains: Chains) -> int:
    """Return the MACs of all images over all sites: all layers may run again before each site."""
    images = len(calibration.batches) * calibration.batch
    return images * calibration.sample_macs * len(chains)
