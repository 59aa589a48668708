"""Tuning: all factors trained together, on the calibration inputs, to give what the original gives.

The refit goes forward only: an early layer knows nothing of what later layers need. Gradients do.

Source: Hinton et al., "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531), with the original's inner
activations as further targets: Romero et al., "FitNets", ICLR 2015 (arXiv 1412.6550).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from worker.engine.calibration.execute import execute
from worker.engine.calibration.refit import Chains
from worker.engine.calibration.walk import Batch
from worker.engine.convolution import Array, Layer
from worker.engine.patches import convolve
from worker.engine.program import Program, Step

_RATE = 1e-3
_WARM_UP = 20


def tune(program: Program, batches: Sequence[Batch], chains: Chains, steps: int) -> dict[str, tuple[Layer, ...]]:
    """Return the chains after so many steps of Adam, over the batches in turn."""
    trained = {site: _Chain(layers) for site, layers in chains.items()}
    parameters = [tensor for chain in trained.values() for tensor in chain.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _pace(step, steps))
    for step in range(steps):
        batch = batches[step % len(batches)]
        loss = mismatch(program, batch, trained)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        schedule.step()
    return {site: chain.layers() for site, chain in trained.items()}


def mismatch(program: Program, batch: Batch, trained: Mapping[str, "_Chain"]) -> Tensor:
    """Return the squared error of the outputs and of all sites' inputs, each relative to the original's variance."""
    wanted: list[Tensor] = []
    given: list[Tensor] = []
    with torch.no_grad():
        wanted_outputs = execute(program, batch, {}, _collector(wanted))
    outputs = execute(program, batch, trained, _collector(given))
    inner = [_relative(a, b) for a, b in zip(given, wanted, strict=True)]
    outer = [_relative(a, b) for a, b in zip(outputs, wanted_outputs, strict=True) if is_real(a)]
    return torch.stack(inner).mean() + torch.stack(outer).mean()


def _collector(found: list[Tensor]) -> Any:  # noqa: ANN401
    seen: set[str] = set()

    def watch(step: Step, taken: Sequence[Any]) -> None:
        if step.site is not None and step.takes[0] not in seen:
            seen.add(step.takes[0])
            found.append(taken[0])

    return watch


def is_real(value: object) -> bool:
    """Whether it is a tensor of floating-point numbers."""
    return isinstance(value, Tensor) and value.is_floating_point()


def _relative(given: Tensor, wanted: Tensor) -> Tensor:
    return (given - wanted).square().mean() / (wanted.var() + torch.finfo(wanted.dtype).tiny)


def _pace(step: int, steps: int) -> float:
    """The rate rises over the first steps and falls to nothing as half a cosine."""
    return min(1.0, (step + 1) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


class _Chain:
    """The layers in a site's place, their weights to be trained."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._weights = [_trainable(layer.weight) for layer in layers]
        self._biases = [None if layer.bias is None else _trainable(layer.bias) for layer in layers]

    def __call__(self, x: Tensor) -> Tensor:
        for layer, weight, bias in zip(self._layers, self._weights, self._biases, strict=True):
            x = convolve(layer.convolution, x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        return x

    def parameters(self) -> list[Tensor]:
        return [tensor for tensor in (*self._weights, *self._biases) if tensor is not None]

    def layers(self) -> tuple[Layer, ...]:
        return tuple(
            Layer(layer.convolution, weight.detach().numpy(), None if bias is None else bias.detach().numpy())
            for layer, weight, bias in zip(self._layers, self._weights, self._biases, strict=True)
        )


def _trainable(values: Array) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)
