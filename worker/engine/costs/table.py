"""The cost table: the times of layers, of chains of them and of the sums of chains.

A table names the format whose runtime was measured, and may come from another device.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from math import prod
from pathlib import Path

from convpress.formats import Format
from worker.engine.costs.cold_weights import BYTES_OF_WEIGHT
from worker.engine.costs.grid import VERSION, Grid
from worker.engine.costs.kinds import (
    BLOCK,
    added_kind,
    as_computed,
    channels,
    earlier_kind,
    int8_kind,
    kind_of,
    positions,
)
from worker.engine.formats import adapter_of
from worker.engine.numerics.convolution import Convolution

_CACHED_LAYERS = 1 << 16
_ADDING_INPUTS = 16
"""The input channels of the layers by which additions are priced: points of their grids."""


@dataclass(frozen=True)
class CostTable:
    """The rates of a host's runtime.

    Attributes:
        format: the model format whose runtime was measured.
        runtime: the runtime's name and version.
        host: the processor's architecture and name.
        layer_ns: the nanoseconds that a layer takes beyond its arithmetic.
        grids: the rates by kind of layer, as `kind_of` names them.
        block: the output channels that the runtime computes together.
        cold_ns_per_byte: the nanoseconds that a byte of weights takes longer from memory than from
            the caches; 0 where that is not known.
    """

    format: Format
    runtime: str
    host: str
    layer_ns: float
    grids: Mapping[str, Grid]
    block: int = BLOCK
    cold_ns_per_byte: float = 0.0

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
        key = self._key(convolution, int8_kind if int8 else str)
        if key is None:
            return None
        warm = self._nanoseconds(key, convolution, tuple(input_size), batch)
        itemsize = 1 if int8 else BYTES_OF_WEIGHT
        weight_bytes = itemsize * prod(convolution.weight_shape)
        return warm + round(self.cold_ns_per_byte * weight_bytes)

    def _key(
        self, convolution: Convolution, variant: Callable[[str], str]
    ) -> str | None:
        """Return the key of the grid for a layer, or of the one that stands for it, or None.

        `variant` maps the layer's kind to a name, as `int8_kind` does.
        """
        kind: str | None = kind_of(convolution, self.block)
        while kind is not None and variant(kind) not in self.grids:
            kind = earlier_kind(kind)
        return None if kind is None else variant(kind)

    @cached_property
    def _nanoseconds(self) -> Callable[[str, Convolution, tuple[int, ...], int], int]:
        """The computation with a cache: the ranks of a site share many layers."""
        return lru_cache(_CACHED_LAYERS)(self._computed)

    def _computed(
        self,
        key: str,
        convolution: Convolution,
        input_size: tuple[int, ...],
        batch: int,
    ) -> int:
        """Return the time of a layer by the grid with a key."""
        # whole blocks on both sides: half a block's rate is twice as high as that of the block
        computed = as_computed(convolution, self.block)
        inputs, outputs = channels(computed)
        rate = self.grids[key].rate(
            inputs, outputs, positions(computed, input_size, batch)
        )
        return round(computed.macs(input_size, batch) * rate + self.layer_ns)

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
            last_size = size
            size = convolution.output_size(size)
        if number == 1:
            return chain
        more = self._addition(convolutions[-1], last_size, batch)
        if more is None:
            return None
        return number * chain + (number - 1) * more

    def _addition(
        self, layer: Convolution, input_size: tuple[int, ...], batch: int
    ) -> int | None:
        """Return the time that it takes to add a layer's outputs to others; None without a price.

        It depends on the outputs alone.
        """
        n, size = layer.out_channels, layer.output_size(input_size)
        if not adapter_of(self.format).adds_in_convolution:
            return self.nanoseconds(
                _pointwise(n, size, inputs=n, groups=n), size, batch
            )
        reference = _pointwise(n, size, inputs=_ADDING_INPUTS)
        key = self._key(reference, added_kind)
        alone_key = self._key(reference, str)
        # a table of an earlier version has the addition for nothing
        if key is None or alone_key is None:
            return 0
        alone_ns = self._nanoseconds(alone_key, reference, size, batch)
        return max(0, self._nanoseconds(key, reference, size, batch) - alone_ns)

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
        # the file of a table that does not know it stays what it was
        if not self.cold_ns_per_byte:
            del members["cold_ns_per_byte"]
        return json.dumps(members, separators=(",", ":"))


def _pointwise(
    n: int, size: Sequence[int], inputs: int, groups: int = 1
) -> Convolution:
    """Return a layer of one weight for each input and output channel of a group."""
    axes = len(size)
    ones = (1,) * axes
    return Convolution(
        weight_shape=(n, inputs // groups, *ones),
        stride=ones,
        padding=((0, 0),) * axes,
        dilation=ones,
        groups=groups,
    )
