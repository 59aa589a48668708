"""What a classifier's last layer loses of classes that no synthetic image shows.

A few hundred images show few of a thousand classes, and whatever they do not show of the features the factors of the
last layer may leave out for nothing. But its weights know all classes: in a network that was trained to the end the
features of a class come to lie along the weights of that class, about the mean of all.

Source: Papyan, Han and Donoho, "Prevalence of neural collapse during the terminal phase of deep learning training",
PNAS 117 (2020), self-duality.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.engine.calibration.inputs.distil import scores_of
from worker.engine.calibration.refit.refit import chain
from worker.engine.calibration.replay import Batch
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.patches import rows
from worker.engine.program import Program, Step, run


@dataclass(frozen=True)
class LastLayer:
    """The layer that gives a classifier's scores: what it takes on some inputs, `seen` (rows, channels), and classes.

    `classes`, `(classes, channels)`, are its weights about their mean, moved and scaled to the mean and the variance of
    what is seen.
    """

    layer: Layer
    seen: Tensor
    classes: Tensor

    @classmethod
    def of(cls, layer: Layer, seen: Tensor) -> "LastLayer":
        """Return a last layer that takes these rows."""
        weight = torch.from_numpy(layer.weight).to(seen).reshape(len(layer.weight), -1)
        off = weight - weight.mean(0)
        mean = seen.mean(0)
        scale = (seen - mean).square().sum(1).mean() / off.square().sum(1).mean()
        return cls(layer, seen, mean + scale.sqrt() * off)

    @torch.no_grad()
    def excess(self, layers: Sequence[Layer]) -> float:
        """Return how many times larger the error of layers in its place is on its classes than on what is seen.

        It is 1 where it is no larger, and where there is nothing to compare: classes that are all one, inputs that do
        not vary, or layers that lose nothing or all of them.
        """
        unseen, seen = self._error(layers, self.classes), self._error(layers, self.seen)
        return max(1.0, unseen / seen) if 0 < seen < 1 and math.isfinite(unseen) else 1.0

    def _error(self, layers: Sequence[Layer], x: Tensor) -> float:
        """Return the energy of the outputs' difference over that of the outputs."""
        wanted, given = (self._given(each, x).double() for each in ((self.layer,), layers))
        return float((given - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum())

    def _given(self, layers: Sequence[Layer], x: Tensor) -> Tensor:
        ones = (1,) * len(self.layer.convolution.kernel)
        return chain(layers, x.reshape(*x.shape, *ones)).flatten(1)


def last_site(program: Program) -> str | None:
    """Return the site that runs last."""
    return next((step.site for step in reversed(program.steps) if step.site is not None), None)


@torch.no_grad()
def last_layer(
    program: Program, batches: Sequence[Batch], site: str, layer: Layer
) -> LastLayer | None:
    """Return a site's layer with what it takes, if it gives a classifier's scores at every position by itself."""
    convolution, taken = layer.convolution, list[Tensor]()
    if not _is_pointwise(convolution):
        return None

    def watch(step: Step, inputs: Sequence[Any]) -> None:
        if step.site == site:
            taken.append(rows(convolution, inputs[0])[:, 0])

    for batch in batches:
        scores = scores_of(run(program, batch, watch=watch))
        if scores is None or scores.shape[1] != convolution.out_channels:
            return None
    return LastLayer.of(layer, torch.cat(taken))


def _is_pointwise(convolution: Convolution) -> bool:
    """Whether every position of what a layer gives comes of all channels at one position of what it takes."""
    ones = (1,) * len(convolution.kernel)
    return (
        convolution.groups == 1
        and not convolution.transposed
        and convolution.kernel == ones
        and convolution.output_size(ones) == ones
    )
