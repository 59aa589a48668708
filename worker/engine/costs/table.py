"""The cost table: nanoseconds per multiply-accumulate on grids of layer shapes, interpolated.

A table names the format whose runtime was measured, and may come from another device. Layers with
one or three spatial axes and transposed ones are in no table: they have no price.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain, product
from math import isfinite, log2, prod
from pathlib import Path
from typing import Any

from convpress.formats import FORMATS, Format
from convpress.refusal import Code, Refusal
from worker.engine.formats import adapter_of
from worker.engine.numerics.convolution import Convolution

FIELD = "cost_table"
EXPECTED = "a table as `convpress calibrate-host` writes it"
VERSION = 1
BLOCK = 8
"""The output channels that runtimes compute together: other numbers cost as the next multiple."""
EVEN = 4
"""Input channels that are no multiple of this take another path in the runtimes."""
_LARGEST_BYTES = 4 * 1024**2
_LONGEST_AXIS = 64
_LONGEST_NAME = 200
_LARGEST_RATE = 1e6
_LARGEST_LAYER_NS = 1e12
_CACHED_LAYERS = 1 << 16

Rates = tuple[tuple[tuple[float | None, ...], ...], ...]
"""Nanoseconds per multiply-accumulate by input channels, output channels and output positions."""


@dataclass(frozen=True)
class Grid:
    """Measured rates of one kind of layer; each axis ascends.

    Attributes:
        inputs: input channels of one group; all channels of depthwise layers.
        outputs: output channels of one group; those of one input of depthwise layers.
        positions: output positions, over the whole batch.
        ns_per_mac: nanoseconds per multiply-accumulate at each point. None stands for a point that
            was not measured: the rate of the next fewer positions applies.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    positions: tuple[int, ...]
    ns_per_mac: Rates

    def rate(self, inputs: int, outputs: int, positions: int) -> float:
        """Return the nanoseconds per MAC, linear between the logarithms of the grid's sizes.

        Beyond an end of an axis, the rate is that of the end.

        >>> grid = Grid((1, 4), (1,), (1,), (((2.0,),), ((4.0,),)))
        >>> grid.rate(1, 1, 1), grid.rate(2, 1, 1), grid.rate(100, 1, 1)
        (2.0, 3.0, 4.0)
        """
        corners = product(
            _between(self.inputs, inputs),
            _between(self.outputs, outputs),
            _between(self.positions, positions),
        )
        rate = 0.0
        for (a, a_share), (b, b_share), (c, c_share) in corners:
            share = a_share * b_share * c_share
            if share:
                rate += share * self._at(a, b, c)
        return rate

    def _at(self, inputs: int, outputs: int, positions: int) -> float:
        """Return the rate at a point of the grid, or that of the next fewer positions."""
        row = self.ns_per_mac[inputs][outputs]
        rate = row[positions]
        # the smallest size is always measured, so that the search ends
        while rate is None:
            positions -= 1
            rate = row[positions]
        return rate


@dataclass(frozen=True)
class CostTable:
    """The rates of a host's runtime.

    Attributes:
        format: the model format whose runtime was measured.
        runtime: the runtime's name and version.
        host: the processor's architecture and name.
        layer_ns: the nanoseconds that a layer takes beyond its arithmetic.
        grids: the rates by kind of layer, as `kind_of` names them.
    """

    format: Format
    runtime: str
    host: str
    layer_ns: float
    grids: Mapping[str, Grid]

    def nanoseconds(
        self,
        convolution: Convolution,
        input_size: Sequence[int],
        batch: int = 1,
        *,
        int8: bool = False,
    ) -> int | None:
        """Return the time of one call of a layer on one thread.

        Args:
            convolution: the layer's geometry.
            input_size: the spatial size of its input; `()` for a linear layer.
            batch: the samples, or the rows that a linear layer multiplies.
            int8: whether the layer computes in int8, between others that do.

        Returns:
            nanoseconds; None for a kind without a grid.
        """
        kind = _kind(convolution, int8=int8)
        if kind is None or kind not in self.grids:
            return None
        return self._nanoseconds(convolution, tuple(input_size), batch, int8)

    @cached_property
    def _nanoseconds(self) -> Callable[[Convolution, tuple[int, ...], int, bool], int]:
        """The computation with a cache: the ranks of a site share many layers."""
        return lru_cache(_CACHED_LAYERS)(self._computed)

    def _computed(
        self,
        convolution: Convolution,
        input_size: tuple[int, ...],
        batch: int,
        int8: bool,
    ) -> int:
        """Return the time of a layer whose kind has a grid."""
        kind = _kind(convolution, int8=int8)
        assert kind is not None  # `nanoseconds` has checked
        output_size = convolution.output_size(input_size)
        positions = batch * prod(output_size)
        inputs, outputs = channels(convolution)
        rate = self.grids[kind].rate(inputs, outputs, positions)
        macs = _as_computed(convolution).macs(input_size, batch)
        return round(macs * rate + self.layer_ns)

    def summed(
        self,
        convolutions: Sequence[Convolution],
        number: int,
        input_size: Sequence[int],
        batch: int = 1,
        *,
        int8: bool = False,
    ) -> int | None:
        """Return the time of equal chains of layers and of the sum of their outputs.

        Args:
            convolutions: the layers of one chain, which feed one another.
            number: the number of chains.
            input_size: the spatial size of the input that all chains take.
            batch: the samples.
            int8: whether the layers compute in int8.

        Returns:
            nanoseconds; None where a layer has no price.
        """
        chain = 0
        size = tuple(input_size)
        for convolution in convolutions:
            layer = self.nanoseconds(convolution, size, batch, int8=int8)
            if layer is None:
                return None
            chain += layer
            size = convolution.output_size(size)
        if number == 1 or adapter_of(self.format).adds_in_convolution:
            return number * chain
        channels = convolutions[-1].out_channels
        addition = self.nanoseconds(_addition(channels, size), size, batch)
        if addition is None:
            return None
        return number * chain + (number - 1) * addition

    def write(self, path: Path) -> None:
        """Write the table as JSON."""
        path.write_text(self._text)

    @property
    def digest(self) -> str:
        """The SHA-256 of the table's file."""
        return hashlib.sha256(self._text.encode()).hexdigest()

    @property
    def _text(self) -> str:
        """The table's file, in its shortest form."""
        members = {"version": VERSION, **asdict(self)}
        return json.dumps(members, separators=(",", ":"))


def _kind(convolution: Convolution, *, int8: bool) -> str | None:
    """Return the name of the grid for a layer in float or in int8."""
    kind = kind_of(convolution)
    if kind is None or not int8:
        return kind
    return int8_kind(kind)


def int8_kind(kind: str) -> str:
    """Return the name of the grid of a kind of layer in int8."""
    return f"int8 {kind}"


def kind_of(convolution: Convolution) -> str | None:
    """Return the name of the grid for a layer, with the nearest kernel size; None for none.

    >>> kind_of(Convolution((64, 60, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)))
    '3x3'
    >>> kind_of(Convolution((32, 1, 1, 5), (1, 1), ((0, 0), (2, 2)), (1, 1), groups=32))
    'depthwise 1x3'
    """
    if convolution.transposed:
        return None
    if not convolution.kernel:
        return "linear"
    if len(convolution.kernel) != 2:
        return None
    inputs = convolution.group_inputs
    if convolution.groups > 1:
        kernel = _kernel(*convolution.kernel, most=3)
        if inputs == 1:
            return f"depthwise {kernel}"
        return f"grouped {kernel}"
    kernel = _kernel(*convolution.kernel, most=7)
    if inputs % EVEN == 0:
        return kernel
    if kernel == "1x1":
        return "ragged 1x1"
    return "ragged 3x3"


def _kernel(high: int, wide: int, most: int) -> str:
    """Return the nearest kernel of the grids that is at most `most` wide."""
    if high == wide == 1:
        return "1x1"
    if wide == 1:
        return "3x1"
    if high == 1:
        return "1x3"
    size = 7
    if max(high, wide) <= 3:
        size = 3
    elif max(high, wide) <= 5:
        size = 5
    size = min(size, most)
    return f"{size}x{size}"


def channels(convolution: Convolution) -> tuple[int, int]:
    """Return a layer's (inputs, outputs) as the grids count them."""
    inputs = convolution.group_inputs
    if convolution.groups > 1 and inputs == 1:
        inputs = convolution.groups
    return inputs, convolution.group_outputs


def _as_computed(convolution: Convolution) -> Convolution:
    """Return a layer with its output channels in whole blocks, as the runtime computes them."""
    # groups and matrix products are computed without blocks
    if convolution.groups > 1 or not convolution.kernel:
        return convolution
    outputs, *others = convolution.weight_shape
    blocks = -(-outputs // BLOCK)
    return replace(convolution, weight_shape=(blocks * BLOCK, *others))


def _addition(n: int, size: Sequence[int]) -> Convolution:
    """Return a layer that costs as an addition does: one weight a channel."""
    axes = len(size)
    ones = (1,) * axes
    return Convolution(
        weight_shape=(n, 1, *ones),
        stride=ones,
        padding=((0, 0),) * axes,
        dilation=ones,
        groups=n,
    )


def _between(axis: Sequence[int], size: int) -> tuple[tuple[int, float], ...]:
    """Return the (index, share) of the points around a size; beyond an end, of that end."""
    at = bisect_right(axis, size)
    if at == 0:
        return ((0, 1.0),)
    if at == len(axis):
        return ((at - 1, 1.0),)
    lower = log2(axis[at - 1])
    upper = log2(axis[at])
    share = (log2(size) - lower) / (upper - lower)
    return ((at - 1, 1.0 - share), (at, share))


def read(path: Path, model_format: Format) -> CostTable:
    """Read a table of a format's runtime, which may come from another device.

    Raises:
        Refusal: `cost_table_invalid`.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ValueError(f"it has more than {_LARGEST_BYTES} bytes")
        table = _table(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise _invalid("the cost table does not exist", path.name) from error
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        cause = f"{type(error).__name__}: {str(error)[:200]}"
        raise _invalid(f"the file is no cost table: {cause}", path.name) from error
    if table.format != FORMATS[model_format].timed_as:
        mismatch = f"{table.format}, where the model is {model_format}"
        raise _invalid(f"the cost table is one for {table.format}", mismatch)
    return table


def _table(members: Any) -> CostTable:  # noqa: ANN401 - any JSON
    """Return the table of a file's members.

    Raises:
        LookupError, TypeError, ValueError: the members are not those of a table.
    """
    version = members["version"]
    model_format = members["format"]
    if version != VERSION or model_format not in FORMATS:
        raise ValueError(f"version {version!r} of format {model_format!r}")
    grids = {str(kind): _grid(kind, grid) for kind, grid in members["grids"].items()}
    runtime = str(members["runtime"])
    host = str(members["host"])
    layer_ns = 0.0
    # zero is an honest time of a layer beyond its arithmetic, but no rate
    if members["layer_ns"] != 0:
        layer_ns = _number(members["layer_ns"], _LARGEST_LAYER_NS)
    return CostTable(
        format=model_format,
        runtime=runtime[:_LONGEST_NAME],
        host=host[:_LONGEST_NAME],
        layer_ns=layer_ns,
        grids=grids,
    )


def _grid(kind: str, members: Any) -> Grid:  # noqa: ANN401 - any JSON
    """Return the grid of a kind, with one rate for each point of its axes, or None."""
    inputs = _axis(kind, "inputs", members["inputs"])
    outputs = _axis(kind, "outputs", members["outputs"])
    positions = _axis(kind, "positions", members["positions"])
    rates = tuple(_plane(plane) for plane in members["ns_per_mac"])
    rows = list(chain.from_iterable(rates))
    fits = (
        len(rates) == len(inputs)
        and all(len(plane) == len(outputs) for plane in rates)
        and all(len(row) == len(positions) for row in rows)
    )
    has_gap = fits and any(row[0] is None for row in rows)
    if not fits or has_gap:
        fault = "has not the shape of its axes, or nothing at the fewest positions"
        raise ValueError(f"ns_per_mac of {kind} {fault}")
    return Grid(inputs, outputs, positions, rates)


def _plane(rows: Any) -> tuple[tuple[float | None, ...], ...]:  # noqa: ANN401 - any JSON
    """Return the rates of one number of input channels."""
    return tuple(tuple(map(_rate, row)) for row in rows)


def _rate(number: object) -> float | None:
    """Return a rate; None stands for a point that was not measured."""
    if number is None:
        return None
    return _number(number, _LARGEST_RATE)


def _axis(kind: str, name: str, sizes: Any) -> tuple[int, ...]:  # noqa: ANN401 - any JSON
    """Return the sizes along one axis of a grid, which ascend."""
    if not isinstance(sizes, list) or not 0 < len(sizes) <= _LONGEST_AXIS:
        raise ValueError(f"{name} of {kind} are not 1 to {_LONGEST_AXIS} sizes")
    are_sizes = all(type(size) is int and size >= 1 for size in sizes)
    if not are_sizes or sorted(set(sizes)) != sizes:
        raise ValueError(f"{name} of {kind} do not ascend from 1")
    return tuple(sizes)


def _number(number: object, most: float) -> float:
    """Return a positive number of nanoseconds that is at most `most`."""
    error = ValueError(f"{str(number)[:40]} is no time")
    # True is an int, but no number
    if isinstance(number, bool) or not isinstance(number, float | int):
        raise error
    if not isfinite(number) or not 0 < number <= most:
        raise error
    return float(number)


def _invalid(detail: str, got: str) -> Refusal:
    return Refusal(Code.COST_TABLE_INVALID, detail, field=FIELD, expected=EXPECTED, got=got)
