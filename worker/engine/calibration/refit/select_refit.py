"""The choice between closed-form factors and two refits, by held-out inputs.

A refit can hurt where calibration inputs are few or unlike real ones, and more so the more of each
site it fits. So two refits are tried: of whole sites, where that is affordable, and of the last
layers alone. Of both and the closed-form factors, those with the least output error on inputs from
another generator are chosen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.engine.calibration.calibrate import Calibration
from worker.engine.calibration.chains import Chain, Chains
from worker.engine.calibration.effort import DEFAULT_EFFORT, Effort
from worker.engine.calibration.refit.refit import Origin, refits
from worker.engine.calibration.statistics.batchnorm_statistics import with_statistics
from worker.engine.calibration.statistics.output_error import OutputError
from worker.engine.program import StepError

# Of the time of a refit: running the models on held-out inputs, before the fits and after them.
_SHARE_BEFORE, _SHARE_AFTER = 0.08, 0.04


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

    `tell` receives the share of the work that is done, over all refits.
    """
    output_error = OutputError(calibration.judged_program, calibration.held_out)
    before = output_error.of(chains)
    tell(_SHARE_BEFORE)
    program = with_statistics(calibration.program, calibration.moments.batchnorm)
    last_layers_only: Mapping[str, Origin] = {}
    variants = [last_layers_only]
    if _whole_sites_macs(calibration, chains) <= effort.whole_site_macs:
        variants = [origins, last_layers_only]
    batches = calibration.batches
    sites = [step.site for step in program.steps if step.site is not None]
    own_work = [_work(chains[site]) for site in sites if site in chains]
    work = len(variants) * sum(own_work)
    done = 0

    def tell_site(name: str) -> None:
        nonlocal done
        done += _work(chains[name])
        tell(_SHARE_BEFORE + (1 - _SHARE_BEFORE - _SHARE_AFTER) * done / work)

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


def _work(chain: Chain) -> int:
    """Return the work to fit a chain, in a unit of its own.

    It is the numbers in the patches of the layers, as fits take rows in proportion to these.
    """
    return sum(layer.convolution.patch for layer in chain)


def _whole_sites_macs(calibration: Calibration, chains: Chains) -> int:
    """Return the MACs of all images over all sites: all layers may run again before each site."""
    images = len(calibration.batches) * calibration.batch
    return images * calibration.sample_macs * len(chains)
