"""A site that loses output channels, because the layer that takes them keeps fewer of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from worker.engine.decompose import Factorisation, Rank, Target
from worker.engine.decompose.channels import CHANNELS
from worker.engine.numerics.convolution import Array, Convolution, Layer


@dataclass(frozen=True)
class Narrowed(Factorisation):
    """The factorisation `inner` with `outputs` of its output channels.

    Without an `inner` it is the layer itself, whose rank is then `outputs`. Layers are computed
    with all outputs: which of them are cut is known where the layers are written.
    """

    inner: Factorisation | None
    outputs: int

    @classmethod
    def of(
        cls, convolution: Convolution, inner: Factorisation | None, outputs: int
    ) -> "Narrowed":
        """Return a factorisation, or the convolution itself, with fewer outputs."""
        if inner is None:
            variant = f"of {convolution.out_channels} outputs"
            return cls(convolution, CHANNELS, variant, None, outputs)
        return cls(convolution, inner.form, inner.variant, inner, outputs)

    @property
    def ranks(self) -> Sequence[Rank]:
        """The ranks of the inner factorisation, or the number of outputs."""
        return [self.outputs] if self.inner is None else self.inner.ranks

    def convolutions(self, rank: Rank) -> tuple[Convolution, ...]:
        """Return the geometry of the layers, of which the last one has fewer outputs."""
        inner = self.inner
        layers = (self.convolution,) if inner is None else inner.convolutions(rank)
        return with_outputs(layers, self.outputs)

    def errors(self, target: Target, ranks: Sequence[Rank]) -> Array:
        """Return the errors of the outputs that stay: those of all of them."""
        if self.inner is None:
            return np.zeros(len(ranks))
        return self.inner.errors(target, ranks)

    def layers(self, target: Target, rank: Rank) -> tuple[Layer, ...]:
        """Return the layers with all outputs."""
        if self.inner is None:
            return (target.layer,)
        return self.inner.layers(target, rank)


def can_lose_outputs(convolutions: Sequence[Convolution]) -> bool:
    """Whether `with_outputs` applies to a chain: its last layer is of one group, or depthwise."""
    *before, last = convolutions
    if last.transposed:
        return False
    if last.groups == 1:
        return True
    is_depthwise = last.groups == last.out_channels
    return is_depthwise and all(each.groups == 1 for each in before[-1:])


def with_outputs(
    convolutions: Sequence[Convolution], outputs: int
) -> tuple[Convolution, ...]:
    """Return a chain with fewer output channels, and without what only the others need.

    >>> ones, none = (1, 1), ((0, 0), (0, 0))
    >>> first = Convolution((12, 5, 1, 1), ones, none, ones)
    >>> depthwise = Convolution((6, 2, 3, 3), ones, none, ones, groups=6)
    >>> [each.weight_shape for each in with_outputs([first, depthwise], 4)]
    [(8, 5, 1, 1), (4, 2, 3, 3)]
    >>> several = Convolution((12, 1, 3, 1), ones, none, ones, groups=6)
    >>> [each.groups for each in with_outputs([several, depthwise], 4)]
    [4, 4]
    """
    *before, last = convolutions
    _, inputs, *kernel = last.weight_shape
    shape = (outputs, inputs, *kernel)
    if last.groups == 1:
        return (*before, replace(last, weight_shape=shape))
    # with several filters a channel, all of them go
    groups = outputs * last.groups // last.out_channels
    narrow = replace(last, weight_shape=shape, groups=groups)
    if not before:
        return (narrow,)
    # each filter of the depthwise layer has inputs of its own
    return (*with_outputs(before, outputs * inputs), narrow)


def cut_outputs(layers: Sequence[Layer], kept: Sequence[int]) -> tuple[Layer, ...]:
    """Return a chain with these output channels, and without what only the others need."""
    *before, last = layers
    convolutions = [layer.convolution for layer in layers]
    *_, geometry = with_outputs(convolutions, len(kept))
    rows = np.asarray(kept)
    bias = None
    if last.bias is not None:
        bias = last.bias[rows]
    weight = last.weight[rows]
    narrow = Layer(geometry, weight, bias)
    if last.convolution.groups == 1 or not before:
        return (*before, narrow)
    inputs = last.weight.shape[1]
    firsts = rows[:, None] * inputs
    of_each = firsts + np.arange(inputs)
    own: list[int] = of_each.reshape(-1).tolist()
    cut = cut_outputs(before, own)
    return (*cut, narrow)
