"""Reasons why a form does not apply to a geometry that several forms share."""

from worker.engine.numerics.convolution import Convolution


def transposed(convolution: Convolution) -> str | None:
    """Refuse transposed convolutions, whose outputs overlap."""
    if convolution.transposed:
        return "the form does not apply to transposed convolutions"
    return None


def depthwise(convolution: Convolution) -> str | None:
    """Refuse convolutions without channels to combine within a group."""
    groups = convolution.groups
    if groups > 1 and convolution.in_channels == groups:
        return "it is already depthwise"
    return None


def no_spatial_extent(convolution: Convolution) -> str | None:
    """Refuse kernels of one offset, and what `transposed` and `depthwise` refuse."""
    if convolution.k2 == 1:
        return transposed(convolution) or "a 1x1 kernel has no spatial extent to factor"
    return transposed(convolution) or depthwise(convolution)
