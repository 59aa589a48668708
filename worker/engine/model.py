"""The engine's vocabulary: what a model is to it, whatever file it came in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from convpress.shapes import InputShapes
from worker.engine.numerics.convolution import Convolution, Layer, chain_macs

if TYPE_CHECKING:  # torch, which takes more than a second to import, is for calibrating alone where the model is ONNX
    from worker.engine.program import Program

Inputs = Mapping[str, NDArray[np.generic]]
"""Arrays by input name, in the model's order."""

Runner = Callable[[Inputs], dict[str, NDArray[np.generic]]]
"""Runs a model that was loaded from its file: inputs by name to outputs by name."""


NUMBER = "int"
"""The dtype of an input that is a whole number and no tensor."""


@dataclass(frozen=True)
class TensorSpec:
    """A model's input or output: a size is a number, a symbol that the model gives it, or None where unknown."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None

    @property
    def is_number(self) -> bool:
        """Whether it is one whole number without axes: its value stands where others have their shape."""
        return self.dtype == NUMBER or (
            self.shape == () and np.issubdtype(np.dtype(self.dtype), np.integer)
        )

    def axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the array that it takes, where such a shape is bound to it."""
        return () if self.is_number else shape

    def number(self, shape: tuple[int, ...]) -> NDArray[np.generic]:
        """Return the number that is bound to it as an array without axes, 0 where there is none."""
        return np.asarray(shape[0] if shape else 0, np.dtype(self.dtype))


@dataclass(frozen=True)
class Call:
    """One use of a site: the batch and the spatial size that come in, and how often (a loop's static trip count)."""

    batch: int
    input_size: tuple[int, ...]
    times: int = 1


@dataclass(frozen=True)
class Site:
    """One convolution (or other operator with multiply-accumulates) of a model, with every call of its weights.

    `convolution` is None for an operator that is no convolution (a product of two activations, say). `reason` says
    why the format cannot replace this site; None where it can. `itemsize` is how many bytes one number of its weight
    takes, where it can be replaced. `execution_paths` holds its cost along each way through the model's
    branches; `macs` is the largest of them. It is empty where the model has no branches.
    """

    name: str
    op: str
    weight_shape: tuple[int, ...]
    macs: int
    convolution: Convolution | None = None
    calls: tuple[Call, ...] = ()
    reason: str | None = None
    itemsize: int = 4
    execution_paths: tuple[int, ...] = ()

    def macs_of(self, convolutions: Sequence[Convolution]) -> int:
        """Return what these convolutions would cost in this site's place, over all its calls."""
        return sum(
            call.times * chain_macs(convolutions, call.input_size, call.batch)
            for call in self.calls
        )

    def cost_in(self, course: int, cost: int) -> int:
        """Return what something in this site's place that costs so much costs in one of the model's courses."""
        return (
            cost * self.execution_paths[course] // max(self.macs, 1)
            if self.execution_paths
            else cost
        )


@dataclass(frozen=True)
class CostProfile:
    """The multiply-accumulates of a model, site by site, and the operators that were not counted, with their number.

    `unsettled` are those of them that have multiply-accumulates, of which these shapes do not tell how many.
    """

    sites: tuple[Site, ...]
    uncounted: Mapping[str, int]
    unsettled: Mapping[str, int] = field(default_factory=dict)

    @property
    def execution_paths(self) -> tuple[int, ...]:
        """What each of the model's courses costs: the sum over the sites that run in it."""
        return by_execution_path(self.sites, [site.macs for site in self.sites])

    @property
    def macs(self) -> int:
        """The total: what the dearest course costs."""
        return max(self.execution_paths)


def by_execution_path(sites: Sequence[Site], costs: Sequence[int]) -> tuple[int, ...]:
    """Return what each course of a model costs whose sites cost so much.

    >>> sites = [Site("a", "Conv", (), 9, courses=(9, 9)), Site("b", "Conv", (), 5, courses=(0, 5))]
    >>> by_course(sites, [9, 5]), by_course(sites, [4, 2]), by_course([], [])
    ((9, 14), (4, 6), (0,))
    """
    number = max((len(site.execution_paths) for site in sites), default=1) or 1
    costed = list(zip(sites, costs, strict=True))
    return tuple(
        sum(site.cost_in(course, cost) for site, cost in costed) for course in range(number)
    )


class Model(Protocol):
    """A model that was opened for surgery; it is never run (a runner loads the file anew)."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that a caller passes, in order."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that come out, in order."""
        ...

    @property
    def parameters(self) -> int:
        """The number of stored weights (elements of floating-point initializers, parameters and buffers)."""
        ...

    def bind(self, shapes: InputShapes | None) -> dict[str, tuple[int, ...]]:
        """Return a full shape for every input: what the user gave, else what the model carries, batch 1 if free.

        Raises:
            Refusal: `input_shape_required` where neither tells, `input_shape_mismatch` where they contradict.
        """
        ...

    def count(self, shapes: Mapping[str, tuple[int, ...]]) -> CostProfile:
        """Return the sites and what they cost on inputs of these shapes.

        Raises:
            Refusal: `input_shape_mismatch` where the model cannot take these shapes.
        """
        ...

    def layer(self, site: Site) -> Layer:
        """Return a replaceable site's weights, as float32 or float64 arrays."""
        ...

    def replace(self, site: Site, *chains: Sequence[Layer]) -> None:
        """Put the sum of chains, layers that feed one another, in a site's place, for all its calls, in its dtype."""
        ...

    def program(self) -> "Program":
        """Return the model as steps on torch tensors, with the sites of the last `count` that can be replaced.

        Raises:
            NoProgramError: the model cannot be taken apart.
        """
        ...

    def save(self, path: Path) -> None:
        """Write the model in its own format; weights that nothing uses any more are left out."""
        ...
