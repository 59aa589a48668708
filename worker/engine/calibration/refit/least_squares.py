"""Least-squares fits of one layer to target outputs, by normal equations with an intercept."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from worker.engine.calibration.chains import as_tensor
from worker.engine.calibration.statistics.patch_sums import PatchSums
from worker.engine.calibration.statistics.shrinkage import oas_intensity
from worker.engine.numerics import device
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments

# The least pull towards the present weights, relative to the mean variance of their inputs.
_RIDGE = 1e-3
# The same, relative to the mean square: the variance of a constant input is mere rounding.
_ROUNDING = 1e-10


class _System(NamedTuple):
    """The normal equations without their right-hand side.

    `mean` `(groups, m)` is that of the inputs, `ridge` `(groups, 1, 1)` the pull towards the
    present weights, and `factors` the LU factors of the inputs' covariance plus the ridge.
    """

    mean: Tensor
    ridge: Tensor
    factors: tuple[Tensor, Tensor]


class RegressionRows:
    """The input rows `(rows, groups, m)` of a layer and their targets `(rows, groups, outputs)`.

    Both are held batch by batch and summed about their means, group by group: products in their own
    precision, sums in float64.
    """

    def __init__(self, convolution: Convolution) -> None:
        self.targets: list[Tensor] = []
        self._inputs: list[Tensor] = []
        self._convolution = convolution

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add the input rows and the targets of one batch."""
        self._inputs.append(x)
        self.targets.append(y)

    @property
    def are_finite(self) -> bool:
        """Whether there are rows, and all of them are finite."""
        tensors = (*self._inputs, *self.targets)
        if not any(map(len, self._inputs)):
            return False
        return all(map(_is_finite, tensors))

    def moments(self) -> Moments:
        """Return the moments of the input rows."""
        return self._sums.moments()

    def outputs(self, layer: Layer) -> Iterator[Tensor]:
        """Yield a layer's outputs for the rows, batch after batch."""
        groups = layer.convolution.groups
        for x in self._inputs:
            weight = _by_group(as_tensor(layer.weight, x), layer.convolution)
            products = torch.einsum("rgm,gnm->rgn", x, weight)
            if layer.bias is not None:
                products = products + as_tensor(layer.bias, x).reshape(groups, -1)
            yield products

    def fit(self, layer: Layer, targets: Sequence[Tensor]) -> Layer:
        """Return the layer with the weights and the bias of least squared error.

        A ridge r pulls the weights towards the present ones W0. With the covariance C of the
        inputs and their cross-covariance S with the targets, the weights are
        W = (S^T + r W0) (C + r I)^-1, and the bias is the targets' mean less W times the inputs'.
        """
        convolution = layer.convolution
        dtype = layer.weight.dtype
        count = self._sums.count
        exact = device.placed(torch.from_numpy(layer.weight.astype(np.float64)))
        present = _by_group(exact, convolution)
        mean, ridge, factors = self._system
        sums = [y.sum(0, dtype=torch.float64) for y in targets]
        target_mean = torch.stack(sums).sum(0) / count
        cross = self._cross_products(mean, targets, target_mean) / count
        pulled = cross + ridge * present.mT
        weight = torch.linalg.lu_solve(*factors, pulled).mT
        of_mean = weight @ mean[:, :, None]
        bias = target_mean - of_mean[:, :, 0]
        in_shape = weight.reshape(convolution.weight_shape)
        return replace(
            layer,
            weight=in_shape.numpy(force=True).astype(dtype),
            bias=bias.flatten().numpy(force=True).astype(dtype),
        )

    @cached_property
    def _sums(self) -> PatchSums:
        """The sums over the input rows, computed once for all fits."""
        sums = PatchSums(self._convolution)
        for x in self._inputs:
            sums.add(x)
        return sums

    @cached_property
    def _system(self) -> _System:
        """The normal equations, factored once for all fits.

        The covariance C becomes C + r I. The ridge r is the mean variance times the larger of
        `_RIDGE` and the OAS intensity: what few rows do not show stays at the present weights.
        """
        mean, covariance = self._sums.covariance()
        diagonal = covariance.diagonal(dim1=1, dim2=2)
        variance = diagonal.mean(1)
        square = variance + mean.square().mean(1)
        # The norm needs no second matrix for the squares.
        norm = torch.linalg.matrix_norm(covariance)
        intensity = oas_intensity(norm.square(), diagonal, self._sums.count)
        pull = intensity.clamp_min(_RIDGE)
        tiny = torch.finfo(torch.float64).tiny
        ridge = (pull * variance + _ROUNDING * square + tiny)[:, None]
        # A view: this adds the ridge to the covariance.
        diagonal += ridge
        return _System(mean, ridge[:, :, None], torch.linalg.lu_factor(covariance))

    def _cross_products(
        self, mean: Tensor, targets: Sequence[Tensor], target_mean: Tensor
    ) -> Tensor:
        """Return the sums `(groups, m, outputs)` of the inputs times the targets, both centred."""
        shape = (*mean.shape, target_mean.shape[-1])
        sums = torch.zeros(shape, dtype=torch.float64, device=mean.device)
        remainder = torch.zeros_like(target_mean)
        for x, y in zip(self._inputs, targets, strict=True):
            # One side about its mean is enough: the products of the other's mean cancel.
            outputs = y - target_mean.to(y.dtype)
            sums += torch.einsum("rgm,rgn->gmn", x, outputs)
            remainder += outputs.sum(0, dtype=torch.float64)
        # They cancel up to the rounding of the targets' mean.
        return sums - mean[:, :, None] * remainder[:, None, :]


def _is_finite(values: Tensor) -> bool:
    """Return whether all values are finite; their extremes tell, in a third of the time."""
    if not values.numel():
        return True
    least, most = torch.aminmax(values)
    return bool(least.isfinite() and most.isfinite())


def _by_group(weight: Tensor, convolution: Convolution) -> Tensor:
    """Return a weight as matrices `(groups, outputs, m)`."""
    groups = convolution.groups
    return weight.reshape(groups, convolution.out_channels // groups, -1)
