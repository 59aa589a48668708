"""Distilled inputs: synthetic images bent until the model's own layers find in them what they know of real ones.

Layers that normalise by stored statistics tell the mean and the deviation that real data has there; a classifier tells
what it takes for each of its classes. Both are differentiable, so gradients lead from any image to one that agrees.

Where normalisation is folded away, the classes alone would lead to images that excite a network as nothing real does.
There the statistics that the images have before they are bent, at every site, stand for the stored ones: the images
become those of a class and stay as plausible as they were. And what is bent are not single pixels, of which Adam makes
fine patterns, but amplitudes over frequency, which fall as those of natural images do: shapes and shades come of it.
Statistics of real images ask for fine patterns as well, and are met by pixels better.

Sources: Cai et al., "ZeroQ", CVPR 2020 (arXiv 2001.00281); Yin et al., "Dreaming to Distill", CVPR 2020
(arXiv 1912.08795), equations 2 to 4; Olah, Mordvintsev and Schubert, "Feature Visualization", Distill (2017), for steps
in the space of frequencies. Keeping the images' own statistics is this project's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from worker.engine.calibration.replay import Batch
from worker.engine.program import Program, Step, StepError, Watch, run

_RATE = 0.03
"""Adam's step, in standard deviations of the images."""
_CLASS_WEIGHT, _CLASS_WEIGHT_ALONE, _SMOOTHNESS_WEIGHT = 0.3, 1.0, 0.1
"""`_ALONE`: where nothing but the classes tells of real images."""
_LEAST_DEVIATION = 1e-4


class _Statistics(NamedTuple):
    """Of every channel (axis 1), `(channels,)`."""

    mean: Tensor
    deviation: Tensor


_Expected = Mapping[str, _Statistics]
"""What a step is to take, by the name of the value that it gives."""


class DistillingError(Exception):
    """Images cannot be bent by this model's gradients; the message says why, in words for the report."""


def distil(program: Program, batch: Batch, name: str, steps: int, seed: int) -> Batch:
    """Return the batch with the images called `name` after so many steps of Adam; labels are drawn at random.

    Raises:
        DistillingError: the model has no gradients, or none that lead to finite images.
    """
    start, stored = batch[name], _stored(program)
    expected = stored or _present(program, batch)
    class_weight = _CLASS_WEIGHT if stored else _CLASS_WEIGHT_ALONE
    scale = start.std(correction=0) + torch.finfo(start.dtype).tiny
    noise = torch.zeros_like(start, requires_grad=True)
    amplitudes = torch.ones(start.shape[2:]) if stored else _natural_amplitudes(start.shape[2:])
    optimiser = torch.optim.Adam([noise], lr=_RATE)
    generator = torch.Generator("cpu").manual_seed(seed)  # the same labels on every device
    labels: Tensor | None = None
    for _ in range(steps):
        losses: list[Tensor] = []
        change = _filtered(noise, amplitudes)
        try:
            outputs = run(
                program, {**batch, name: start + scale * change}, watch=_gather(losses, expected)
            )
        except StepError as error:  # it has run on such images, but without gradients
            raise DistillingError(f"the model has no gradients: {error}") from error
        scores = class_scores(outputs, len(start))
        if scores is not None:
            if labels is None:
                labels = torch.randint(
                    scores.shape[1], (len(start),), generator=generator, device="cpu"
                ).to(scores.device)
            losses.append(class_weight * F.nll_loss(scores, labels))
        losses.append(_SMOOTHNESS_WEIGHT * _variation(start / scale + change))
        optimiser.zero_grad()
        try:
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        except RuntimeError as error:  # what torch raises where an operator has no derivative
            raise DistillingError(f"the model has no gradients: {error}") from error
        optimiser.step()
    bent = (start + scale * _filtered(noise, amplitudes)).detach()
    if not bent.isfinite().all():
        raise DistillingError("the model's gradients are not finite")
    return {**batch, name: bent}


def statistics_mismatch(program: Program, batch: Batch) -> Tensor:
    """Return how far a batch's statistics are from those stored in a model, over all its normalisations."""
    losses: list[Tensor] = []
    run(program, batch, watch=_gather(losses, _stored(program)))
    return torch.stack(losses).sum()


def class_scores(outputs: Sequence[Any], count: int) -> Tensor | None:
    """Return the logarithms of a classifier's probabilities, `(count, classes)`; None where the model is no classifier.

    Taken for one is a model with a single output of one vector an image: of probabilities, or of what softmax makes
    such of.
    """
    if (
        len(outputs) != 1
        or not isinstance(outputs[0], Tensor)
        or not outputs[0].is_floating_point()
    ):
        return None
    scores = outputs[0]
    if (
        scores.dim() == 0
        or len(scores) != count
        or scores.numel() < 2 * count
        or scores.squeeze().dim() > 2 - (count == 1)
    ):
        return None
    flat = scores.reshape(count, -1)
    with torch.no_grad():
        are_probabilities = bool((flat >= 0).all()) and bool((flat.sum(1) - 1).abs().max() < 1e-3)
    return flat.clamp_min(1e-9).log() if are_probabilities else F.log_softmax(flat, 1)


def scores_of(outputs: Sequence[Any]) -> Tensor | None:
    """Return `class_scores`, of as many samples as the first output has along its first axis."""
    first = outputs[0]
    return (
        class_scores(outputs, len(first)) if isinstance(first, Tensor) and first.dim() > 1 else None
    )


def _stored(program: Program) -> _Expected:
    """Return the statistics that a model's normalisations store; nothing where it has none."""
    return {
        step.gives[0]: _Statistics(
            step.norm.mean, (step.norm.variance + _LEAST_DEVIATION**2).sqrt()
        )
        for step in program.steps
        if step.norm is not None
    }


@torch.no_grad()
def _present(program: Program, batch: Batch) -> _Expected:
    """Return the statistics that a batch has at every site."""
    found: dict[str, _Statistics] = {}

    def watch(step: Step, taken: Sequence[Any]) -> None:
        if step.site is not None:
            x = taken[0]
            variance, mean = torch.var_mean(x, _all_but_channels(x), correction=0)
            found[step.gives[0]] = _Statistics(mean, (variance + _LEAST_DEVIATION**2).sqrt())

    run(program, batch, watch=watch)
    return found


def _gather(losses: list[Tensor], expected: _Expected) -> Watch:
    """Return a watch that adds to the list how far each step's inputs are from what is expected."""

    def watch(step: Step, taken: Sequence[Any]) -> None:
        wanted = expected.get(step.gives[0])
        if wanted is not None:
            mean, deviation = _statistics_near(wanted.mean, taken[0])
            by_mean = ((mean - wanted.mean) / wanted.deviation).square().mean()
            by_deviation = ((deviation - wanted.deviation) / wanted.deviation).square().mean()
            losses.append(by_mean + by_deviation)

    return watch


def _statistics_near(expected: Tensor, x: Tensor) -> _Statistics:
    """Return statistics as sums around an expected mean, for which torch is quicker than for variances."""
    shifted = x - expected.reshape(-1, *(1,) * (x.dim() - 2))
    mean, square = (each.mean(_all_but_channels(x)) for each in (shifted, shifted.square()))
    variance = (square - mean.square()).clamp_min(
        0
    )  # where the mean is far off, rounding may leave less than nothing
    return _Statistics(expected + mean, (variance + _LEAST_DEVIATION**2).sqrt())


def _all_but_channels(x: Tensor) -> list[int]:
    return [axis for axis in range(x.dim()) if axis != 1]


def _natural_amplitudes(size: Sequence[int]) -> Tensor:
    """Return what white noise of this size is to be multiplied by over its frequencies, so that its variance stays.

    It falls with frequency, as the amplitudes of natural images do, from the lowest on that fits into the size: every
    octave is as strong as any other.
    """
    axes = [torch.fft.fftfreq(length).square() for length in size]
    behind = range(len(size) - 1, -1, -1)
    square = sum(
        (axis.reshape(-1, *(1,) * n) for axis, n in zip(axes, behind, strict=True)),
        start=torch.zeros(()),
    )
    amplitudes = square.sqrt().clamp_min(1 / max(size, default=1)).reciprocal()
    return amplitudes / amplitudes.square().mean().sqrt()


def _filtered(noise: Tensor, amplitudes: Tensor) -> Tensor:
    """Return noise `(images, channels, *size)` with these amplitudes over frequency."""
    axes, size = tuple(range(2, noise.dim())), noise.shape[2:]
    if not axes:
        return noise
    half = amplitudes[..., : size[-1] // 2 + 1]  # of real values the other half says the same
    filtered: Tensor = torch.fft.irfftn(torch.fft.rfftn(noise, dim=axes) * half, s=size, dim=axes)
    return filtered


def _variation(x: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbours, summed over the spatial axes along which there are any."""
    axes = [axis for axis in range(2, x.dim()) if x.shape[axis] > 1]
    return sum((x.diff(dim=axis).abs().mean() for axis in axes), start=x.new_zeros(()))
