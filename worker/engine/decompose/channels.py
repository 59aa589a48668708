"""Channels: a layer keeps some of its input channels, and is fitted to the outputs of all.

The other channels need not be computed: the layers before it lose them too
(`worker.engine.selection.channels`). So this form is none of `FORMS`, which look at one layer.

Source: backward elimination as in Hassibi and Stork, "Second order derivatives for network
pruning: Optimal Brain Surgeon", NIPS 1992, with the covariance of the inputs as the Hessian and the
columns of a channel removed together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from worker.engine.decompose.base import Factorisation, Rank
from worker.engine.decompose.target import Target
from worker.engine.decompose.two_layers import pointwise
from worker.engine.numerics.convolution import Array, Convolution, Layer

CHANNELS = "channels"
"""The form's name."""
WIDEST = 2048
"""The most numbers of a patch: the time of an elimination grows with their third power."""


@dataclass(frozen=True)
class Channels(Factorisation):
    """A convolution of one group on some of its input channels; the rank is their number.

    `layers` returns two: a pointwise one that selects the channels, which is never written, and the
    convolution on them. So the form can be computed where all channels are still there.
    """

    @classmethod
    def of(cls, convolution: Convolution) -> "Channels":
        """Return the form of a convolution.

        >>> form = Channels.of(Convolution((8, 6, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)))
        >>> [each.weight_shape for each in form.convolutions(4)]
        [(8, 4, 1, 1)]
        """
        return cls(convolution, CHANNELS, f"of {convolution.in_channels} inputs")

    @property
    def ranks(self) -> Sequence[int]:
        """All numbers of input channels."""
        return range(1, self.convolution.in_channels + 1)

    def convolutions(self, rank: Rank) -> tuple[Convolution, ...]:
        """Return the geometry of the convolution on the channels that stay."""
        assert isinstance(rank, int)
        n, _, *kernel = self.convolution.weight_shape
        shape = (n, rank, *kernel)
        narrow = replace(self.convolution, weight_shape=shape)
        return (narrow,)

    def errors(self, target: Target, ranks: Sequence[Rank]) -> Array:
        """Return the errors `(len(ranks),)`; 0 where all channels stay."""
        _, errors = _eliminated(target, self.convolution.k2)
        indices = np.array(ranks, dtype=np.intp)
        chosen: Array = errors[indices]
        return chosen

    def layers(self, target: Target, rank: Rank) -> tuple[Layer, ...]:
        """Return the selection and the convolution on the channels that stay, with the bias."""
        assert isinstance(rank, int)
        convolution = self.convolution
        inputs = convolution.in_channels
        order, _ = _eliminated(target, convolution.k2)
        staying = order[inputs - rank :]
        kept = np.sort(staying)
        columns = _columns(kept, convolution.k2)
        weight = _fitted(target, columns)
        (geometry,) = self.convolutions(rank)
        axes = len(convolution.kernel)
        selection = pointwise(inputs, rank, axes, 1)
        identity = np.eye(inputs, dtype=weight.dtype)
        chosen = identity[kept]
        outputs = weight @ target.mean[0, columns]
        bias = target.bias(outputs[None])
        selecting = chosen.reshape(selection.weight_shape)
        weights = weight.reshape(geometry.weight_shape)
        return (
            Layer(selection, selecting, None),
            Layer(geometry, weights, bias),
        )


def kept_channels(selection: Layer) -> list[int]:
    """Return the channels that the first of the form's layers selects, in ascending order."""
    rows = selection.weight.reshape(len(selection.weight), -1)
    channels: list[int] = rows.argmax(axis=1).tolist()
    return channels


def _columns(channels: Array, k2: int) -> Array:
    """Return the positions in a patch of all numbers of these channels."""
    firsts = channels[:, None] * k2
    of_each = firsts + np.arange(k2)
    columns: Array = of_each.reshape(-1)
    return columns


def _fitted(target: Target, columns: Array) -> Array:
    """Return the weights `(n, columns)` of least error on some numbers of the patches.

    They are `W C[:, S] C[S, S]^-1`.
    """
    weight = target.weight[0]
    if target.covariance is None:
        kept: Array = weight[:, columns]
        return kept
    covariance = target.covariance[0]
    square = np.ix_(columns, columns)
    inner = covariance[square].astype(np.float64)
    products = target.product[0]
    cross = products[:, columns].astype(np.float64)
    solution = np.linalg.solve(inner, cross.T)
    fitted: Array = solution.T
    return fitted


def _eliminated(target: Target, k2: int) -> tuple[Array, Array]:
    """Return the channels in the order in which they go, and the errors by the number that stay.

    The channel goes whose loss adds the least error once the rest is fitted anew. With B the
    fitted weights and A the inverse covariance of what stays, that is `tr(B_j A_jj^-1 B_j^T)`.
    """
    b = target.weight[0].astype(np.float64)
    size = b.shape[1]
    channels = size // k2
    if target.covariance is None:
        a = np.eye(size)
    else:
        covariance = target.covariance[0].astype(np.float64)
        a = np.linalg.inv(covariance)
    staying = np.arange(channels)
    order = np.empty(channels, dtype=np.intp)
    lost = np.zeros(channels + 1)
    total = 0.0
    for step in range(channels):
        losses = _losses(b, a, k2)
        at = int(losses.argmin())
        loss = float(losses[at])
        # rounding may make a loss negative
        total += max(loss, 0.0)
        order[step] = staying[at]
        left = channels - step - 1
        lost[left] = total
        first = at * k2
        columns = slice(first, first + k2)
        block = a[columns, columns]
        pulled = np.linalg.solve(block, a[columns])
        b = b - b[:, columns] @ pulled
        b = np.delete(b, columns, axis=1)
        a = a - a[:, columns] @ pulled
        a = np.delete(a, columns, axis=0)
        a = np.delete(a, columns, axis=1)
        staying = np.delete(staying, at)
    if target.energy > 0:
        lost = lost / target.energy
    return order, lost


def _losses(b: Array, a: Array, k2: int) -> Array:
    """Return the error that the loss of each channel adds, `(channels,)`."""
    if k2 == 1:
        squares = np.square(b).sum(0)
        losses: Array = squares / a.diagonal()
        return losses
    outputs, size = b.shape
    channels = size // k2
    by_channel = b.reshape(outputs, channels, k2)
    blocks = by_channel.swapaxes(0, 1)
    at = np.arange(channels)
    pairs = a.reshape(channels, k2, channels, k2)
    diagonal = pairs[at, :, at]
    grams = blocks.swapaxes(1, 2) @ blocks
    solutions = np.linalg.solve(diagonal, grams)
    traces: Array = solutions.trace(axis1=1, axis2=2)
    return traces
