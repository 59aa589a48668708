"""The engine's vocabulary: a model, its inputs, its sites and their costs, in every format."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from convpress.formats import Format
from convpress.shapes import InputShapes
from worker.engine.numerics.convolution import Convolution, Layer, chain_macs

if (
    TYPE_CHECKING
):  # torch takes more than a second to import, and only calibration needs programs
    from worker.engine.program import Program

Inputs = Mapping[str, NDArray[np.generic]]
"""Arrays by input name, in the model's order."""

Runner = Callable[[Inputs], dict[str, NDArray[np.generic]]]
"""Runs a model that was loaded from its file: inputs by name to outputs by name."""

Shapes = Mapping[str, tuple[int, ...]]
"""The full shape of every input, by its name."""

QUANTISED = "its weight is quantised"
INTEGERS = "it computes with integers"
"""Reasons to leave a layer of a quantised model as it is, in any format."""
ALONE = "it computes weights from parameters alone, which ends where those weights are replaced"
"""The reason of products that every run computes anew, although no input changes them."""
NO_ROWS = "it has no rows on the inputs that were counted"
"""The reason of layers that cost nothing, as the heads of a detector that finds nothing."""
_ADVICE_ON_QUANTISED = (
    "; give the model from before its quantisation, with weights of floating point"
)

NUMBER = "int"
"""The dtype of an input that is a whole number and no tensor."""


def advice_on_quantised(reasons: Collection[str | None]) -> str:
    """Return the advice for a model whose layers stay for these reasons; empty for most.

    >>> advice_on_quantised(["recurrent layers are not factored"])
    ''
    """
    is_quantised = QUANTISED in reasons or INTEGERS in reasons
    return _ADVICE_ON_QUANTISED if is_quantised else ""


class Values(tuple[int, ...]):
    """The whole numbers of an input of one axis, bound to it in place of its shape."""

    __slots__ = ()


@dataclass(frozen=True)
class TensorSpec:
    """A model's input or output: a size is a number, a symbol of the model, or None if unknown.

    `rows` is the number of rows that an input of whole numbers selects from, as token ids do from
    an embedding; None where it selects nothing, or that is not known. `leaves_out` says whether it
    is a mask that is true where something is left out.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None
    rows: int | None = None
    leaves_out: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it is one whole number without axes: its value stands in place of a shape."""
        if self.dtype == NUMBER:
            return True
        return self.shape == () and np.issubdtype(np.dtype(self.dtype), np.integer)

    @property
    def is_list(self) -> bool:
        """Whether it is a fixed number of whole numbers on one axis: values can be bound to it."""
        if self.dtype == NUMBER or self.shape is None or len(self.shape) != 1:
            return False
        return isinstance(self.shape[0], int) and np.issubdtype(
            np.dtype(self.dtype), np.integer
        )

    def axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input's array where this shape is bound to the input."""
        if isinstance(shape, Values):
            return (len(shape),)
        return () if self.is_number else shape

    def stated(self, shape: tuple[int, ...]) -> NDArray[np.generic] | None:
        """Return the array of values that are bound to the input; None where a shape is."""
        if isinstance(shape, Values):
            return np.asarray(shape, np.dtype(self.dtype))
        if self.is_number:
            return self.number(shape)
        return None

    def is_stated(self, shape: tuple[int, ...]) -> bool:
        """Return whether the values of the input are bound to it, so that no others are tried."""
        return isinstance(shape, Values) or self.is_number

    def number(self, shape: tuple[int, ...]) -> NDArray[np.generic]:
        """Return the number that is bound to the input as an array without axes, 0 for none."""
        value = shape[0] if shape else 0
        return np.asarray(value, np.dtype(self.dtype))


@dataclass(frozen=True)
class Call:
    """One use of a site: its input's batch and spatial size, and the times it runs.

    `times` is the static trip count of the loops around it.
    """

    batch: int
    input_size: tuple[int, ...]
    times: int = 1


@dataclass(frozen=True)
class Site:
    """An operator with multiply-accumulates, with every call of its weights.

    `convolution` is None for an operator that is not a convolution (a product of two activations,
    say). `reason` says why the format cannot replace this site; None where it can. `itemsize` is
    the number of bytes of one weight, where the site can be replaced. `execution_paths` holds the
    site's cost along each way through the model's branches; `macs` is the largest of them. It is
    empty where the model has no branches. `sized_by_values` says whether values of the inputs may
    decide how many rows it has, or whether it runs.
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
    sized_by_values: bool = False

    def macs_of(self, convolutions: Sequence[Convolution]) -> int:
        """Return the MACs of these convolutions in the site's place, over all its calls."""
        total = 0
        for call in self.calls:
            total += call.times * chain_macs(convolutions, call.input_size, call.batch)
        return total

    def cost_in(self, path: int, cost: int) -> int:
        """Return the part of a cost in the site's place that falls on one execution path."""
        if not self.execution_paths:
            return cost
        # a site may run more often in one path than in another: costs are in proportion to its own
        return cost * self.execution_paths[path] // max(self.macs, 1)


@dataclass(frozen=True)
class UnaccountedOperator:
    """An operator whose multiply-accumulates are not known, so that an account leaves it out.

    It has weights and no counting rule, or a rule that needs more than is known before a run.
    `name` is the node's own, or that of its first weight or output.
    """

    name: str
    operator: str
    reason: str


@dataclass(frozen=True)
class CostProfile:
    """The MACs of a model, site by site, and the number of each operator that was not counted.

    `unsettled` are those of the uncounted operators that have MACs whose number these shapes do not
    determine. `unaccounted` are all operators whose MACs are not known; with any, the account is
    incomplete. `sized_outputs` are the outputs whose sizes values of the inputs may decide.
    """

    sites: tuple[Site, ...]
    uncounted: Mapping[str, int]
    unsettled: Mapping[str, int] = field(default_factory=dict)
    unaccounted: tuple[UnaccountedOperator, ...] = ()
    sized_outputs: frozenset[str] = frozenset()

    @property
    def execution_paths(self) -> tuple[int, ...]:
        """The MACs along each execution path: the sum over the sites that run in it."""
        return by_execution_path(self.sites, [site.macs for site in self.sites])

    @property
    def macs(self) -> int:
        """The MACs along the execution path that has most of them."""
        return max(self.execution_paths)

    @property
    def integer_macs(self) -> int:
        """The MACs on quantised weights or on integers, along the path that has most of them."""
        return self._macs_for((QUANTISED, INTEGERS))

    @property
    def weight_macs(self) -> int:
        """The MACs of computing weights from parameters alone."""
        return self._macs_for((ALONE,))

    def _macs_for(self, reasons: Collection[str]) -> int:
        """Return the MACs of sites that stay for these reasons, along the dearest path of them."""
        costs = [site.macs if site.reason in reasons else 0 for site in self.sites]
        by_path = by_execution_path(self.sites, costs)
        return max(by_path)


def by_execution_path(sites: Sequence[Site], costs: Sequence[int]) -> tuple[int, ...]:
    """Return the sum of the sites' costs along each execution path of the model.

    >>> sites = [
    ...     Site("a", "Conv", (), 9, execution_paths=(9, 9)),
    ...     Site("b", "Conv", (), 5, execution_paths=(0, 5)),
    ... ]
    >>> by_execution_path(sites, [9, 5]), by_execution_path(sites, [4, 2])
    ((9, 14), (4, 6))
    >>> by_execution_path([], [])
    (0,)
    """
    lengths = [len(site.execution_paths) for site in sites]
    longest = max(lengths, default=1)
    totals = [0] * (longest or 1)
    pairs = zip(sites, costs, strict=True)
    for site, cost in pairs:
        for path in range(len(totals)):
            totals[path] += site.cost_in(path, cost)
    return tuple(totals)


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
        """The number of stored weights: elements of floating-point parameters and buffers."""
        ...

    def bind(self, shapes: InputShapes | None) -> dict[str, tuple[int, ...]]:
        """Return a full shape for every input: the user's, else the model's, with a free batch 1.

        Raises:
            Refusal: `input_shape_required` where a size is missing, `input_shape_mismatch` where
                user and model contradict each other.
        """
        ...

    def count(self, shapes: Shapes) -> CostProfile:
        """Return the sites and their costs on inputs of these shapes.

        Raises:
            Refusal: `input_shape_mismatch` where the model cannot take these shapes.
        """
        ...

    def layer(self, site: Site) -> Layer:
        """Return a replaceable site's weights, as float32 or float64 arrays."""
        ...

    def replace(self, site: Site, *chains: Sequence[Layer]) -> None:
        """Put the sum of chains of layers in a site's place, for all its calls, in its dtype."""
        ...

    def can_keep_channels(self, sites: Sequence[str], norms: Sequence[str]) -> bool:
        """Return whether nothing but the program uses the sites, and `norms` can be cut.

        `norms` are values of the program that normalisations by stored statistics give.
        """
        ...

    def keep_channels(
        self, values: Sequence[str], norms: Sequence[str], kept: Sequence[int]
    ) -> None:
        """Keep some channels, in ascending order, of values that lie on one path.

        Values have the names of the `program`. The normalisations that give `norms` lose the
        constants of other channels, and sizes that the model declares of `values` are forgotten.
        The layers of the path are replaced apart from this. Call it before any of them is.
        """
        ...

    def program(self) -> "Program":
        """Return the model as steps on torch tensors.

        Its sites are the replaceable ones of the last `count`.

        Raises:
            NoProgramError: the model cannot be taken apart.
        """
        ...

    def save(self, path: Path) -> None:
        """Write the model in its own format; weights that nothing uses any more are left out."""
        ...


@dataclass(frozen=True)
class Restored:
    """What was turned back into floats in a quantised model.

    These are the weights of layers, and the pairs of QuantizeLinear and DequantizeLinear on
    activations, which became clips.
    """

    weights: int
    pairs: int


@dataclass(frozen=True)
class OpenedModel:
    """A model that was opened from the file at `path` and bound to the shapes of its inputs.

    `posted` is the model that was sent, where that is quantised and this one has its floats.
    `counted` are its costs where they are known already.
    """

    format: Format
    path: Path
    model: Model
    shapes: Shapes
    posted: "OpenedModel | None" = None
    restored: Restored | None = None
    counted: CostProfile | None = None

    @cached_property
    def profile(self) -> CostProfile:
        """The costs at the bound shapes, counted when they are first asked for.

        Raises:
            Refusal: `input_shape_mismatch` where the model cannot take these shapes.
        """
        return self.counted or self.model.count(self.shapes)

    @property
    def parameters(self) -> int:
        """The number of stored weights."""
        return self.model.parameters

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return self.path.stat().st_size

    @property
    def posted_bytes(self) -> int:
        """The size of the file that was sent, which is smaller where that is quantised."""
        return (self.posted or self).path.stat().st_size
