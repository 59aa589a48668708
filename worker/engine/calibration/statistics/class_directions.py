"""The error of a classifier's last layer on classes that no synthetic image shows.

A few hundred images show few of a thousand classes, so the factors of the last layer could leave
out the features of all others at no measured cost. But the layer's weights know all classes: in a
network trained to the end, the features of a class lie along the weights of that class, about the
mean of all.

Source: Papyan, Han and Donoho, "Prevalence of neural collapse during the terminal phase of deep
learning training", PNAS 117 (2020), self-duality.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.engine.calibration.chains import run_chain
from worker.engine.calibration.class_scores import scores_of
from worker.engine.calibration.replay import Batch
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.patches import rows
from worker.engine.program import Program, Step, run


@dataclass(frozen=True)
class LastLayer:
    """The layer that gives a classifier's scores, its measured inputs, and inputs of every class.

    `seen` are the measured inputs `(rows, channels)`. `classes` `(classes, channels)` are the
    weights about their mean, shifted and scaled to the mean and the variance of `seen`.
    """

    layer: Layer
    seen: Tensor
    classes: Tensor

    @classmethod
    def of(cls, layer: Layer, seen: Tensor) -> "LastLayer":
        """Return the last layer with these inputs."""
        classes = len(layer.weight)
        own = torch.from_numpy(layer.weight)
        weight = own.to(seen)
        weight = weight.reshape(classes, -1)
        directions = weight - weight.mean(0)
        mean = seen.mean(0)
        squares = (seen - mean).square()
        variance = squares.sum(1).mean()
        own_squares = directions.square()
        own_variance = own_squares.sum(1).mean()
        scale = variance / own_variance
        scores = mean + scale.sqrt() * directions
        return cls(layer, seen, scores)

    @torch.no_grad()
    def excess(self, chain: Sequence[Layer]) -> float:
        """Return the relative error of a chain on the classes over that on the measured inputs.

        It is at least 1, and 1 where there is nothing to compare: all classes are the same, inputs
        do not vary, or the chain loses nothing or everything of them.
        """
        on_classes = self._error(chain, self.classes)
        on_seen = self._error(chain, self.seen)
        # NaN, of inputs that do not vary, fails the comparison too.
        if not 0 < on_seen < 1:
            return 1.0
        if not math.isfinite(on_classes):
            return 1.0
        return max(1.0, on_classes / on_seen)

    def _error(self, chain: Sequence[Layer], x: Tensor) -> float:
        """Return the energy of the outputs' difference over that of the outputs."""
        originals = self._outputs((self.layer,), x)
        outputs = self._outputs(chain, x)
        difference = outputs - originals
        means = originals.mean(0)
        variation = originals - means
        error = difference.square().sum()
        energy = variation.square().sum()
        return float(error / energy)

    def _outputs(self, chain: Sequence[Layer], x: Tensor) -> Tensor:
        """Return a chain's outputs `(rows, classes)` for inputs `(rows, channels)`."""
        axes = len(self.layer.convolution.kernel)
        ones = (1,) * axes
        images = x.reshape(*x.shape, *ones)
        outputs = run_chain(chain, images)
        return outputs.flatten(1).double()


def last_site(program: Program) -> str | None:
    """Return the site that runs last."""
    for step in reversed(program.steps):
        if step.site is not None:
            return step.site
    return None


@torch.no_grad()
def last_layer(
    program: Program, batches: Sequence[Batch], site: str, layer: Layer
) -> LastLayer | None:
    """Return a site's layer with its inputs; None unless it alone gives a classifier's scores."""
    convolution = layer.convolution
    inputs: list[Tensor] = []
    if not _is_pointwise(convolution):
        return None

    def watch(step: Step, step_inputs: Sequence[Any]) -> None:
        if step.site == site:
            patches = rows(convolution, step_inputs[0])
            inputs.append(patches[:, 0])

    for batch in batches:
        outputs = run(program, batch, watch=watch)
        scores = scores_of(outputs)
        if scores is None or scores.shape[1] != convolution.out_channels:
            return None
    joined = torch.cat(inputs)
    return LastLayer.of(layer, joined)


def _is_pointwise(convolution: Convolution) -> bool:
    """Whether every output position depends on all channels of one input position."""
    if convolution.groups != 1 or convolution.transposed:
        return False
    ones = (1,) * len(convolution.kernel)
    return convolution.kernel == ones and convolution.output_size(ones) == ones
