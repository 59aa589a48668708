"""The file of a cost table: JSON, read without trust.

A file may come from another device, and from an earlier version, which lacks some kinds of layers.
"""

import json
from dataclasses import replace
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

from convpress.formats import FORMATS, Format
from convpress.refusal import Code, Refusal
from worker.engine.costs.grid import VERSION, Grid
from worker.engine.costs.kinds import BLOCK
from worker.engine.costs.table import CostTable

FIELD = "cost_table"
EXPECTED = "a table as `convpress calibrate-host` writes it"
_LARGEST_BYTES = 4 * 1024**2
_LONGEST_AXIS = 64
_LONGEST_NAME = 200
_LARGEST_RATE = 1e6
_LARGEST_LAYER_NS = 1e12
_LARGEST_BLOCK = 1024


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
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        cause = f"{type(error).__name__}: {str(error)[:200]}"
        raise _invalid(f"the file is no cost table: {cause}", path.name) from error
    if FORMATS[table.format].runtime != FORMATS[model_format].runtime:
        mismatch = f"{table.format}, where the model is {model_format}"
        raise _invalid(f"the cost table is one for {table.format}", mismatch)
    # formats of one runtime share its tables
    return replace(table, format=model_format)


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
    return CostTable(
        format=model_format,
        runtime=runtime[:_LONGEST_NAME],
        host=host[:_LONGEST_NAME],
        layer_ns=_time_on_top(members["layer_ns"], _LARGEST_LAYER_NS),
        grids=grids,
        block=_block(members.get("block", BLOCK)),
        # earlier tables do not have it
        cold_ns_per_byte=_time_on_top(
            members.get("cold_ns_per_byte", 0), _LARGEST_RATE
        ),
    )


def _block(number: object) -> int:
    """Return the channels that a runtime computes together, which earlier tables do not have."""
    if type(number) is not int or not 1 <= number <= _LARGEST_BLOCK:
        raise ValueError(f"block {str(number)[:40]} is no number of channels")
    return number


def _grid(kind: str, members: Any) -> Grid:  # noqa: ANN401 - any JSON
    """Return the grid of a kind, with one rate for each point of its axes, or None."""
    inputs = _axis(kind, "inputs", members["inputs"])
    outputs = _axis(kind, "outputs", members["outputs"])
    positions = _axis(kind, "positions", members["positions"])
    rates = tuple(_plane(plane) for plane in members["ns_per_mac"])
    rows = list(chain.from_iterable(rates))
    widths = {len(plane) for plane in rates}
    lengths = {len(row) for row in rows}
    fits = (
        len(rates) == len(inputs)
        and widths == {len(outputs)}
        and lengths == {len(positions)}
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
    number = len(sizes) if isinstance(sizes, list) else 0
    if not 0 < number <= _LONGEST_AXIS:
        raise ValueError(f"{name} of {kind} are not 1 to {_LONGEST_AXIS} sizes")
    are_sizes = all(type(size) is int and size >= 1 for size in sizes)
    ascends = are_sizes and sorted(set(sizes)) == sizes
    if not ascends:
        raise ValueError(f"{name} of {kind} do not ascend from 1")
    return tuple(sizes)


def _time_on_top(number: object, most: float) -> float:
    """Return a number of nanoseconds: of what a layer takes on top, zero is an honest one."""
    return 0.0 if number == 0 else _number(number, most)


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
    return Refusal(
        Code.COST_TABLE_INVALID, detail, field=FIELD, expected=EXPECTED, got=got
    )
