"""Distilling: synthetic images changed by gradients until the model takes them for real ones.

Layers that normalise by stored statistics know the mean and the deviation of real data; a
classifier knows each of its classes. Both are differentiable, so that gradients lead from any image
to one that agrees.

Where normalisation is folded away, the classes alone would lead to images that excite a network as
no real image does. There the statistics at every site before the first step stand for the stored
ones: images become those of a class and stay as plausible as they were. Adam on single pixels also
makes fine patterns, so there the steps change amplitudes over frequency, which fall as those of
natural images do and give shapes and shades. Statistics of real images ask for fine patterns too,
and single pixels meet them better.

Sources: Cai et al., "ZeroQ", CVPR 2020 (arXiv 2001.00281); Yin et al., "Dreaming to Distill", CVPR
2020 (arXiv 1912.08795), equations 2 to 4; Olah, Mordvintsev and Schubert, "Feature Visualization",
Distill (2017), for steps over frequencies. Keeping the images' own statistics is this project's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from worker.engine.calibration.class_scores import class_scores
from worker.engine.calibration.inputs.adam import Adam
from worker.engine.calibration.inputs.frequency import (
    natural_amplitudes,
    shape_spectrum,
)
from worker.engine.calibration.replay import Batch
from worker.engine.program import Program, Step, StepError, Watch, run

# Adam's step, in standard deviations of the images.
_RATE = 0.03
# Of the classes in the loss, where stored statistics describe real images.
_CLASS_WEIGHT = 0.3
# The same where only the classes do.
_CLASS_WEIGHT_ALONE = 1.0
_SMOOTHNESS_WEIGHT = 0.1
# Added to deviations as a square: dead channels have none to divide by.
_LEAST_DEVIATION = 1e-4


class DistillingError(Exception):
    """The model's gradients cannot change images; the message gives the reason for the report."""


class _Statistics(NamedTuple):
    """The mean and the deviation of every channel (axis 1), `(channels,)`."""

    mean: Tensor
    deviation: Tensor


_Expected = Mapping[str, _Statistics]
"""The statistics that a step's input should have, by the name of the step's output."""


def distil(program: Program, batch: Batch, name: str, steps: int, seed: int) -> Batch:
    """Return the batch with the images of input `name` after `steps` of Adam.

    A classifier's labels are drawn at random.

    Raises:
        DistillingError: the model has no gradients, or they lead to images that are not finite.
    """
    start = batch[name]
    objective = _Objective(program, batch, name, seed)
    noise = torch.zeros_like(start, requires_grad=True)
    optimiser = Adam(noise, _RATE)
    for _ in range(steps):
        loss = objective.loss(noise)
        try:
            [gradient] = torch.autograd.grad(loss, [noise])
        except RuntimeError as error:  # an operator has no derivative
            raise DistillingError(f"the model has no gradients: {error}") from error
        optimiser.step(gradient)
    images = objective.images(noise).detach()
    if not images.isfinite().all():
        raise DistillingError("the model's gradients are not finite")
    return {**batch, name: images}


class _Objective:
    """The loss of images that differ from a batch's own by noise of unit deviation."""

    def __init__(self, program: Program, batch: Batch, name: str, seed: int) -> None:
        self._program = program
        self._batch = batch
        self._name = name
        self._start = batch[name]
        deviation = self._start.std(correction=0)
        self._scale = deviation + torch.finfo(self._start.dtype).tiny
        # The labels must be the same on every device.
        self._generator = torch.Generator("cpu").manual_seed(seed)
        self._labels: Tensor | None = None
        size = self._start.shape[2:]
        stored = _stored_statistics(program)
        if stored:
            self._expected: _Expected = stored
            self._class_weight = _CLASS_WEIGHT
            self._amplitudes = torch.ones(size)
        else:
            self._expected = _measured_statistics(program, batch)
            self._class_weight = _CLASS_WEIGHT_ALONE
            self._amplitudes = natural_amplitudes(size)

    def images(self, noise: Tensor) -> Tensor:
        """Return the changed images."""
        return self._start + self._scale * self._change(noise)

    def loss(self, noise: Tensor) -> Tensor:
        """Return the statistics' mismatch, the classes' cross-entropy and the total variation.

        Raises:
            DistillingError: the model does not run with gradients.
        """
        losses: list[Tensor] = []
        change = self._change(noise)
        images = self._start + self._scale * change
        inputs = {**self._batch, self._name: images}
        try:
            watch = _collect(losses, self._expected)
            outputs = run(self._program, inputs, watch=watch)
        except StepError as error:  # it ran on these images, but without gradients
            raise DistillingError(f"the model has no gradients: {error}") from error
        scores = class_scores(outputs, len(self._start))
        if scores is not None:
            labels = self._labels_like(scores)
            entropy = F.nll_loss(scores, labels)
            losses.append(self._class_weight * entropy)
        in_deviations = self._start / self._scale + change
        variation = _variation(in_deviations)
        losses.append(_SMOOTHNESS_WEIGHT * variation)
        return torch.stack(losses).sum()

    def _change(self, noise: Tensor) -> Tensor:
        """Return the change of the images, in their deviations."""
        return shape_spectrum(noise, self._amplitudes)

    def _labels_like(self, scores: Tensor) -> Tensor:
        """Return the labels, drawn once the number of classes is known."""
        if self._labels is None:
            count, classes = scores.shape
            labels = torch.randint(
                classes, (count,), generator=self._generator, device="cpu"
            )
            self._labels = labels.to(scores.device)
        return self._labels


def statistics_mismatch(program: Program, batch: Batch) -> Tensor:
    """Return the distance of a batch's statistics to those that the model stores, summed."""
    losses: list[Tensor] = []
    run(program, batch, watch=_collect(losses, _stored_statistics(program)))
    return torch.stack(losses).sum()


def _stored_statistics(program: Program) -> _Expected:
    """Return the statistics that the model's normalisations store; empty where it has none."""
    stored: dict[str, _Statistics] = {}
    for step in program.steps:
        if step.norm is not None:
            deviation = _deviation(step.norm.variance)
            stored[step.gives[0]] = _Statistics(step.norm.mean, deviation)
    return stored


@torch.no_grad()
def _measured_statistics(program: Program, batch: Batch) -> _Expected:
    """Return the statistics of a batch at every site."""
    by_output: dict[str, _Statistics] = {}

    def watch(step: Step, inputs: Sequence[Any]) -> None:
        if step.site is not None:
            x = inputs[0]
            axes = _all_but_channels(x)
            variance, mean = torch.var_mean(x, axes, correction=0)
            output = step.gives[0]
            deviation = _deviation(variance)
            by_output[output] = _Statistics(mean, deviation)

    run(program, batch, watch=watch)
    return by_output


def _collect(losses: list[Tensor], expected: _Expected) -> Watch:
    """Return a watch that adds to the list how far each step's input is from its statistics."""

    def watch(step: Step, inputs: Sequence[Any]) -> None:
        output = step.gives[0]
        target = expected.get(output)
        if target is not None:
            mean, deviation = _statistics_near(target.mean, inputs[0])
            mean_error = (mean - target.mean) / target.deviation
            deviation_error = (deviation - target.deviation) / target.deviation
            by_mean = mean_error.square().mean()
            by_deviation = deviation_error.square().mean()
            losses.append(by_mean + by_deviation)

    return watch


def _statistics_near(expected: Tensor, x: Tensor) -> _Statistics:
    """Return statistics from sums about an expected mean, which torch computes faster."""
    axes = _all_but_channels(x)
    spatial = (1,) * (x.dim() - 2)
    broadcast = expected.reshape(-1, *spatial)
    shifted = x - broadcast
    mean = shifted.mean(axes)
    square = shifted.square().mean(axes)
    # Where the mean is far off, rounding may leave less than 0.
    variance = (square - mean.square()).clamp_min(0)
    deviation = _deviation(variance)
    return _Statistics(expected + mean, deviation)


def _deviation(variance: Tensor) -> Tensor:
    """Return the deviation of a variance, differentiable at 0 too."""
    return (variance + _LEAST_DEVIATION**2).sqrt()


def _all_but_channels(x: Tensor) -> list[int]:
    """Return the batch and the spatial axes."""
    return [axis for axis in range(x.dim()) if axis != 1]


def _variation(x: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbours, summed over the spatial axes."""
    variation = x.new_zeros(())
    for axis in range(2, x.dim()):
        # An axis of one has no neighbours, and the mean of nothing is NaN.
        if x.shape[axis] > 1:
            difference = x.diff(dim=axis).abs()
            variation = variation + difference.mean()
    return variation
