"""The sequential refit: layers fitted to the inputs that the compressed layers before them give.

Site after site, in the order in which they run, a least-squares fit maps the compressed model's
own inputs to the original's outputs: later sites repair, as far as they can, the errors of earlier
ones. The fitted layer is the site's own, which is then factored again under the moments of those
inputs. For sites with wide patches, whose moments would take too long once more, only the last
factor and its bias are fitted. Before a ReLU the fit is repeated with `ReluTargets`.

Source: Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and
Detection", TPAMI 2016 (arXiv 1505.06798), section 3.3, asymmetric reconstruction.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from worker.engine.calibration.chains import Chain, Chains, compose, run_chain
from worker.engine.calibration.effort import Effort
from worker.engine.calibration.refit.gain import restore_gain
from worker.engine.calibration.refit.least_squares import RegressionRows
from worker.engine.calibration.refit.relu_targets import ReluTargets, relu_targets
from worker.engine.calibration.replay import (
    Batch,
    CheckpointedRun,
    Footprint,
    checkpoints,
    measure_footprints,
    spread,
)
from worker.engine.calibration.statistics.row_sample import sample_rows
from worker.engine.numerics import memory
from worker.engine.numerics.convolution import Layer
from worker.engine.numerics.moments import Moments
from worker.engine.numerics.patches import results, rows
from worker.engine.program import Program, Step


@dataclass(frozen=True)
class Origin:
    """The origin of a site's chain: `layer` returns the site's own layer, `factors` factors one."""

    layer: Callable[[], Layer]
    factors: Callable[[Layer, Moments], Chain]


class _Following(NamedTuple):
    """What follows a site. `is_end` says that the site's outputs are the model's own."""

    relu: ReluTargets | None
    is_end: bool


class _Site(NamedTuple):
    """A site to fit: its chain, where that came from, and what follows the site."""

    chain: Chain
    origin: Origin | None
    follows: _Following


class _Values(NamedTuple):
    """The values of one batch at a site, in the original and in the compressed model."""

    original_input: Tensor
    original_output: Tensor
    compressed_input: Tensor


def refit(
    program: Program,
    batches: Sequence[Batch],
    chains: Chains,
    origins: Mapping[str, Origin],
    effort: Effort,
    on_site: Callable[[str], object] = lambda _: None,
) -> dict[str, Chain]:
    """Return the chains refitted on the batches, as `refits` does with one variant."""
    [fitted] = refits(program, batches, chains, [origins], effort, on_site)
    return fitted


@torch.no_grad()
def refits(
    program: Program,
    batches: Sequence[Batch],
    chains: Chains,
    variants: Sequence[Mapping[str, Origin]],
    effort: Effort,
    on_site: Callable[[str], object] = lambda _: None,
) -> list[dict[str, Chain]]:
    """Return the chains refitted on the batches, once for each variant: a choice of origins.

    Of a site without an origin only the last layer is fitted. A site that is called several times
    is fitted on its first call. A site stays as it is where the program does not call it, where its
    inputs change their shape (as those do that depend on detections), and where it is transposed,
    since each of its outputs is then a sum over several patches.

    The variants share one run of the original where its values and those of all compressed models
    are within `effort.held_bytes`. The chains are the same if they do not. `on_site` is called
    with each site's name after it, in each variant.

    Raises:
        StepError: the program does not run on the outputs of the compressed sites.
    """
    footprints = measure_footprints(program, batches[0])
    memory.give_back()
    # Both the original's and the compressed model's values are held.
    held_bytes = effort.held_bytes // 2
    batches = _affordable_batches(program, footprints, batches, chains, held_bytes)
    positions = checkpoints(footprints, len(batches), held_bytes)
    together = _bytes_together(footprints, len(batches), len(variants))
    shares = [variants]
    if together > effort.held_bytes:
        shares = [[origins] for origins in variants]
    fitted: list[dict[str, Chain]] = []
    for share in shares:
        original = CheckpointedRun(program, batches, positions)
        models = [
            _Compressed(program, batches, positions, chains, origins)
            for origins in share
        ]
        _fit_all(program, original, models, effort, on_site)
        fitted += [{**chains, **model.fitted} for model in models]
    return fitted


def _bytes_together(
    footprints: Sequence[Footprint], batches: int, variants: int
) -> int:
    """Return the bytes of the original's values at a site, and of those that are held before it."""
    before = max(held for held, _ in footprints)
    during = max(live for _, live in footprints)
    return batches * (during + variants * before)


class _Compressed:
    """A compressed model on its way through the program, with the chains that were fitted."""

    def __init__(
        self,
        program: Program,
        batches: Sequence[Batch],
        positions: Sequence[int],
        chains: Chains,
        origins: Mapping[str, Origin],
    ) -> None:
        self.fitted: dict[str, Chain] = {}
        self._steps = list(program.steps)
        self._run = CheckpointedRun(program, batches, positions)
        self._batches = len(batches)
        self._chains = chains
        self._origins = origins

    def has(self, name: str) -> bool:
        """Whether there is a chain in a site's place."""
        return name in self._chains

    def can_fit(self, name: str) -> bool:
        """Whether the chain in a site's place is still to be fitted."""
        return (
            name not in self.fitted
            and not self._chains[name][-1].convolution.transposed
        )

    def fit(
        self,
        position: int,
        name: str,
        original: Iterable[tuple[Sequence[Tensor], Sequence[Tensor]]],
        follows: _Following,
        effort: Effort,
    ) -> None:
        """Fit the chain of the site at a position to the original's inputs and outputs there."""
        inputs = self._run.inputs_of(position, self._steps)
        site = _Site(self._chains[name], self._origins.get(name), follows)
        values = _paired(original, inputs)
        self.fitted[name] = _fit(site, values, self._batches, effort)

    def replace(self, position: int, name: str) -> None:
        """Run the site's chain at this position from now on."""
        chain = self.fitted.get(name, self._chains[name])
        self._steps[position] = _replaced(self._steps[position], chain)


def _fit_all(
    program: Program,
    original: CheckpointedRun,
    models: Sequence[_Compressed],
    effort: Effort,
    on_site: Callable[[str], object],
) -> None:
    """Fit all sites of some compressed models, in the order in which they run."""
    ends = _end_sites(program)
    for position, step in enumerate(program.steps):
        name = step.site
        if name is None or not models[0].has(name):
            continue
        if models[0].can_fit(name):
            _fit_site(program, original, models, position, name in ends, effort)
        for model in models:
            model.replace(position, name)
            memory.give_back_growth()
            on_site(name)


def _fit_site(
    program: Program,
    original: CheckpointedRun,
    models: Sequence[_Compressed],
    position: int,
    is_end: bool,
    effort: Effort,
) -> None:
    """Fit the site of a step in all models; the original's values there end with this call."""
    name = str(program.steps[position].site)
    follows = _Following(relu_targets(program, position), is_end)
    values = original.inputs_and_outputs_of(position, program.steps)
    shared = values if len(models) == 1 else list(values)
    for model in models:
        model.fit(position, name, shared, follows, effort)


def _paired(
    original: Iterable[tuple[Sequence[Tensor], Sequence[Tensor]]],
    compressed: Iterable[Sequence[Tensor]],
) -> Iterator[_Values]:
    """Yield the values of each batch, given a site's inputs and outputs in both models."""
    for (inputs, outputs), compressed_inputs in zip(original, compressed, strict=True):
        yield _Values(inputs[0], outputs[0], compressed_inputs[0])


def _end_sites(program: Program) -> set[str]:
    """Return the sites that lead to no other site, such as a classifier's last layer."""
    ends: set[str] = set()
    leading: set[str] = set()
    for step in reversed(program.steps):
        leads = not leading.isdisjoint(step.gives)
        if step.site is not None and not leads:
            ends.add(step.site)
        if step.site is not None or leads:
            leading.update(step.takes)
    return ends


def _affordable_batches(
    program: Program,
    footprints: Sequence[Footprint],
    batches: Sequence[Batch],
    chains: Chains,
    held_bytes: int,
) -> Sequence[Batch]:
    """Return as many batches as can advance without running layers again for site after site.

    All batches are returned where fewer than half of them could.
    """
    sites = [at for at, step in enumerate(program.steps) if step.site in chains]
    for count in range(len(batches), len(batches) // 2, -1):
        positions = [0, *checkpoints(footprints, count, held_bytes)]
        if _sites_again(sites, positions) <= len(sites):
            return spread(batches, count)
    return batches


def _sites_again(sites: Sequence[int], positions: Sequence[int]) -> int:
    """Return the number of sites that run again in all: from the checkpoint before each site on."""
    again = 0
    for at in sites:
        checkpoint = positions[bisect_right(positions, at) - 1]
        again += bisect_left(sites, at) - bisect_left(sites, checkpoint)
    return again


def _fit(site: _Site, values: Iterable[_Values], batches: int, effort: Effort) -> Chain:
    """Return a site's chain for the compressed inputs, factored again if its patches are narrow.

    Its gain is restored unless its outputs are the model's own: a classifier's scores are compared
    with one another, and an output image should have the least error.
    """
    whole = _refactored_layer(site.origin, effort)
    regressed = site.chain if whole is None else (whole,)
    data = _gather(values, regressed, batches, effort)
    if data is None:
        return site.chain
    *first, last = regressed
    best = _fit_layer(last, data, site.follows.relu, effort)
    if whole is None or site.origin is None:
        chain = (*first, best)
        outputs = data.outputs(best)
    else:
        chain = site.origin.factors(best, data.moments())
        outputs = data.outputs(compose(chain, best.convolution))
    if site.follows.is_end:
        return chain
    return (*chain[:-1], restore_gain(chain[-1], outputs, data.targets))


def _refactored_layer(origin: Origin | None, effort: Effort) -> Layer | None:
    """Return the site's own layer; None where only the chain's last layer is fitted."""
    if origin is None:
        return None
    layer = origin.layer()
    return layer if layer.convolution.patch <= effort.widest_refactored else None


def _gather(
    values: Iterable[_Values], chain: Sequence[Layer], batches: int, effort: Effort
) -> RegressionRows | None:
    """Return the rows that the chain's last layer is fitted to.

    None where inputs have changed their shape or are not finite. All values are consumed.
    """
    *first, last = chain
    convolution = last.convolution
    limited = _row_limits(last, effort)
    data = RegressionRows(convolution)
    are_alike = True
    for at, (original_input, original_output, compressed_input) in enumerate(values):
        are_alike = are_alike and original_input.shape == compressed_input.shape
        if are_alike:
            x = run_chain(first, compressed_input)
            positions = sample_rows(convolution, x, batches, at, limited)
            targets = results(convolution, original_output, positions)
            data.add(rows(convolution, x, positions), targets)
    memory.give_back_growth()
    return data if are_alike and data.are_finite else None


def _row_limits(layer: Layer, effort: Effort) -> Effort:
    """Return the effort with no more rows than a fit of this layer may hold and sum."""
    convolution = layer.convolution
    inputs = convolution.groups * convolution.patch
    outputs = convolution.out_channels
    held = effort.refit_numbers // (inputs + outputs)
    # The covariance is summed once, the products with the targets at every fit.
    row_macs = convolution.patch * (inputs + (1 + effort.relu_fits) * outputs)
    affordable = effort.refit_macs // row_macs
    return replace(effort, rows_per_site=min(effort.rows_per_site, held, affordable))


def _fit_layer(
    layer: Layer, data: RegressionRows, relu: ReluTargets | None, effort: Effort
) -> Layer:
    """Return the layer fitted to the rows; before a ReLU, with targets from the fit before."""
    layer = data.fit(layer, data.targets)
    if relu is None:
        return layer
    for _ in range(effort.relu_fits):
        pairs = zip(data.targets, data.outputs(layer), strict=True)
        targets = [relu.targets(original, output) for original, output in pairs]
        layer = data.fit(layer, targets)
    return layer


def _replaced(step: Step, chain: Sequence[Layer]) -> Step:
    """Return the step with a chain in its place."""
    return replace(step, run=lambda x: (run_chain(chain, x),))
