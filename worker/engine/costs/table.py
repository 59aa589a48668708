"""The cost table: nanoseconds per multiply-accumulate on grids of layer shapes, interpolated between what was measured.

A table names the format whose runtime it is of, and may come from another device. Layers with one or three spatial
axes and transposed ones are in no table: they have no price.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from itertools import product
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
"""Runtimes compute output channels in blocks: what is not a multiple costs as the next one does."""
EVEN = 4
"""Input channels that are no multiple of this take another path."""
_LARGEST_BYTES = 4 * 1024**2
_LONGEST_AXIS = 64
_DEAREST, _DEAREST_LAYER = 1e6, 1e12


@dataclass(frozen=True)
class Grid:
    """Nanoseconds per multiply-accumulate, by input channels, output channels and output positions.

    Channels are those of one group; of depthwise layers, inputs are all channels and outputs those of one input. Each
    axis ascends. Where nothing was measured stands None, and the next fewer positions hold.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    positions: tuple[int, ...]
    ns_per_mac: tuple[tuple[tuple[float | None, ...], ...], ...]

    def rate(self, inputs: int, outputs: int, positions: int) -> float:
        """Return what one multiply-accumulate takes, linear between the logarithms of the grid's sizes."""
        axes = (
            _between(self.inputs, inputs),
            _between(self.outputs, outputs),
            _between(self.positions, positions),
        )
        return sum(
            a_share * b_share * c_share * self._at(a, b, c)
            for (a, a_share), (b, b_share), (c, c_share) in product(*axes)
            if a_share and b_share and c_share
        )

    def _at(self, inputs: int, outputs: int, positions: int) -> float:
        found = self.ns_per_mac[inputs][outputs]
        return next(rate for rate in reversed(found[: positions + 1]) if rate is not None)


@dataclass(frozen=True)
class CostTable:
    """The grids of a host's runtime by the kind of layer, and what each further layer costs beside its arithmetic."""

    format: Format
    runtime: str
    host: str
    layer_ns: float
    grids: Mapping[str, Grid]

    def nanoseconds(
        self, convolution: Convolution, input_size: Sequence[int], batch: int = 1
    ) -> int | None:
        """Return what one call of a layer takes on one thread; None for a kind that the table does not have."""
        kind = kind_of(convolution)
        if kind is None or kind not in self.grids:
            return None
        return self._nanoseconds(convolution, tuple(input_size), batch)

    @cached_property
    def _nanoseconds(self) -> Callable[[Convolution, tuple[int, ...], int], int]:
        return lru_cache(1 << 16)(self._computed)

    def _computed(self, convolution: Convolution, input_size: tuple[int, ...], batch: int) -> int:
        kind = kind_of(convolution)
        assert kind is not None  # `nanoseconds` has asked
        positions = batch * prod(convolution.output_size(input_size))
        inputs, outputs = channels(convolution)
        rate = self.grids[kind].rate(inputs, outputs, positions)
        return round(_as_computed(convolution).macs(input_size, batch) * rate + self.layer_ns)

    def summed(
        self,
        convolutions: Sequence[Convolution],
        number: int,
        input_size: Sequence[int],
        batch: int = 1,
    ) -> int | None:
        """Return what so many chains of layers take whose outputs are summed, in nanoseconds; None without a price.

        ONNX Runtime adds within the last convolution; elsewhere a sum costs what a layer of one weight a channel does.
        """
        total, size = 0, tuple(input_size)
        for convolution in convolutions:
            taken = self.nanoseconds(convolution, size, batch)
            if taken is None:
                return None
            total += taken
            size = convolution.output_size(size)
        sums = 0
        if number > 1 and not adapter_of(self.format).adds_in_convolution:
            ones = (1,) * len(size)
            n = convolutions[-1].out_channels
            taken = self.nanoseconds(
                Convolution((n, 1, *ones), ones, ((0, 0),) * len(size), ones, n), size, batch
            )
            if taken is None:
                return None
            sums = (number - 1) * taken
        return number * total + sums

    def write(self, path: Path) -> None:
        """Write the table as JSON."""
        path.write_text(self._text)

    @property
    def digest(self) -> str:
        """The SHA-256 of the table as it is written: that of its file."""
        return hashlib.sha256(self._text.encode()).hexdigest()

    @property
    def _text(self) -> str:
        return json.dumps({"version": VERSION, **asdict(self)}, separators=(",", ":"))


def kind_of(convolution: Convolution) -> str | None:
    """Return which of a table's grids a layer is in, if any; sizes of kernels are as near as the grids have them.

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
    inputs = convolution.in_channels // convolution.groups
    kernel = _kernel(*convolution.kernel, most=7 if convolution.groups == 1 else 3)
    if convolution.groups > 1:
        return f"depthwise {kernel}" if inputs == 1 else f"grouped {kernel}"
    return kernel if inputs % EVEN == 0 else f"ragged {'1x1' if kernel == '1x1' else '3x3'}"


def _kernel(high: int, wide: int, most: int) -> str:
    if high == wide == 1:
        return "1x1"
    if wide == 1:
        return "3x1"
    if high == 1:
        return "1x3"
    size = min(most, next((size for size in (3, 5) if max(high, wide) <= size), 7))
    return f"{size}x{size}"


def channels(convolution: Convolution) -> tuple[int, int]:
    """Return a layer's channels as the grids count them."""
    inputs = convolution.in_channels // convolution.groups
    outputs = convolution.out_channels // convolution.groups
    return (convolution.groups if convolution.groups > 1 and inputs == 1 else inputs), outputs


def _as_computed(convolution: Convolution) -> Convolution:
    """Return a layer with its output channels as the runtime computes them, in whole blocks."""
    if convolution.groups > 1 or not convolution.kernel:
        return convolution
    whole = -(-convolution.out_channels // BLOCK) * BLOCK
    return replace(convolution, weight_shape=(whole, *convolution.weight_shape[1:]))


def _between(axis: Sequence[int], size: int) -> tuple[tuple[int, float], ...]:
    """Return the places on an axis that a size lies between, with their shares; beyond an end, that end."""
    at = bisect_right(axis, size)
    if at == 0:
        return ((0, 1.0),)
    if at == len(axis):
        return ((at - 1, 1.0),)
    share = (log2(size) - log2(axis[at - 1])) / (log2(axis[at]) - log2(axis[at - 1]))
    return ((at - 1, 1.0 - share), (at, share))


def read(path: Path, wanted: Format) -> CostTable:
    """Read a table of a format's runtime, which may come from another device.

    Raises:
        Refusal: `cost_table_invalid`.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ValueError(f"it has more than {_LARGEST_BYTES} bytes")
        found = _table(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise _invalid("there is no such cost table", path.name) from error
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise _invalid(
            f"the file is no cost table: {type(error).__name__}: {str(error)[:200]}", path.name
        ) from error
    if found.format != wanted:
        raise _invalid(
            f"the cost table is one for {found.format}",
            f"{found.format}, where the model is {wanted}",
        )
    return found


def _table(said: Any) -> CostTable:  # noqa: ANN401 - anything
    if said["version"] != VERSION or said["format"] not in FORMATS:
        raise ValueError(f"version {said['version']!r} of format {said['format']!r}")
    grids = {str(kind): _grid(kind, grid) for kind, grid in said["grids"].items()}
    layer_ns = 0.0 if said["layer_ns"] == 0 else _number(said["layer_ns"], _DEAREST_LAYER)
    return CostTable(
        said["format"], str(said["runtime"])[:200], str(said["host"])[:200], layer_ns, grids
    )


def _grid(kind: str, said: Any) -> Grid:  # noqa: ANN401 - anything
    inputs, outputs, positions = (
        _axis(kind, name, said[name]) for name in ("inputs", "outputs", "positions")
    )
    rates = tuple(
        tuple(
            tuple(None if rate is None else _number(rate, _DEAREST) for rate in row)
            for row in plane
        )
        for plane in said["ns_per_mac"]
    )
    fits = len(rates) == len(inputs) and all(len(plane) == len(outputs) for plane in rates)
    if not fits or any(
        len(row) != len(positions) or row[0] is None for plane in rates for row in plane
    ):
        raise ValueError(
            f"ns_per_mac of {kind} has not the shape of its axes, or nothing at the fewest positions"
        )
    return Grid(inputs, outputs, positions, rates)


def _axis(kind: str, name: str, said: Any) -> tuple[int, ...]:  # noqa: ANN401 - anything
    if not isinstance(said, list) or not 0 < len(said) <= _LONGEST_AXIS:
        raise ValueError(f"{name} of {kind} are not 1 to {_LONGEST_AXIS} sizes")
    if any(type(size) is not int or size < 1 for size in said) or sorted(set(said)) != said:
        raise ValueError(f"{name} of {kind} do not ascend from 1")
    return tuple(said)


def _number(said: object, most: float) -> float:
    if (
        isinstance(said, bool)
        or not isinstance(said, float | int)
        or not isfinite(said)
        or not 0 < said <= most
    ):
        raise ValueError(f"{str(said)[:40]} is no time")
    return float(said)


def _invalid(detail: str, got: str) -> Refusal:
    return Refusal(Code.COST_TABLE_INVALID, detail, field=FIELD, expected=EXPECTED, got=got)
