"""Small programs for tests of calibration, made step by step without any format."""

import numpy as np
import torch

from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.patches import convolve
from worker.engine.program import Norm, Program, Step


def layer(rng, weight_shape, *, padding=0, stride=1, groups=1, bias=True):
    """A convolution with random weights; a linear layer for a weight of two axes."""
    axes = len(weight_shape) - 2
    geometry = Convolution(
        weight_shape,
        (stride,) * axes,
        ((padding, padding),) * axes,
        (1,) * axes,
        groups,
    )
    weight = (
        rng.standard_normal(weight_shape) / np.sqrt(np.prod(weight_shape[1:]))
    ).astype(np.float32)
    return Layer(
        geometry,
        weight,
        rng.standard_normal(weight_shape[0]).astype(np.float32) if bias else None,
    )


def norm(rng, channels):
    """Stored statistics that differ from anything measured."""
    mean = torch.from_numpy(rng.standard_normal(channels).astype(np.float32))
    weight = torch.from_numpy(rng.standard_normal(channels).astype(np.float32))
    bias = torch.from_numpy(rng.standard_normal(channels).astype(np.float32))
    variance = torch.from_numpy(rng.uniform(0.5, 4, channels).astype(np.float32))
    return Norm(mean, variance, weight, bias, 1e-5)


def chained(*parts):
    """A program of parts that feed one another: `(site, layer)`, a `Norm`, or a function of a
    tensor.
    """
    steps = [_step(part, f"v{at}", f"v{at + 1}") for at, part in enumerate(parts)]
    return Program(("v0",), (f"v{len(parts)}",), {}, tuple(steps))


def _step(part, takes, gives):
    if isinstance(part, Norm):
        run = lambda x: (  # noqa: E731
            torch.nn.functional.batch_norm(
                x, part.mean, part.variance, part.weight, part.bias
            ),
        )
        return Step("BatchNormalization", (takes,), (gives,), run, norm=part)
    if isinstance(part, tuple):
        site, target = part
        weight = torch.from_numpy(target.weight)
        bias = None if target.bias is None else torch.from_numpy(target.bias)
        run = lambda x: (convolve(target.convolution, x, weight, bias),)  # noqa: E731
        return Step("Conv", (takes,), (gives,), run, site=site)
    return Step(
        getattr(part, "__name__", "Function"), (takes,), (gives,), lambda x: (part(x),)
    )
