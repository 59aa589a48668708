"""The inputs of a program of torch.export whose sizes the user has to state, from its graph.

Whatever cannot be known within bounds is left to the engine, and so is what the gate refuses.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from convpress.gate import archive
from convpress.gate.mapped import mapped
from convpress.gate.open_sizes import Sizes, unstated
from convpress.gate.pt2.archive import PROGRAM
from convpress.gate.pt2.expressions import SYMBOL
from convpress.gate.pt2.json_text import Json, parse
from convpress.gate.zip_directory import read_directory
from convpress.limits import Limits
from convpress.refusal import Refusal

# A larger program would take the API too long, and more memory than it has: a value takes up to
# some two hundred bytes. A program of 700 nodes has 100,000.
_LARGEST_BYTES = 2 * 1024**2
_LIMITS = replace(Limits(), json_values=100_000)
_SYMBOL = re.compile(rf"Symbol\('({SYMBOL.pattern})'[a-zA-Z=, ]*\)|({SYMBOL.pattern})")


def open_shape(path: Path) -> str | None:
    """Return the shapes of inputs with sizes that the file does not state, as a user writes them.

    None where the file states all, or where that cannot be known here.
    """
    try:
        program = _program(path)
        return None if program is None else unstated(_shapes(program), _least(program))
    except (Refusal, UnicodeDecodeError, LookupError, TypeError, AttributeError):
        # It is no program as torch writes it: the job says so, when the gate has read all of it.
        return None


def _program(path: Path) -> Json:
    infos, directory_start = read_directory(path)
    with mapped(path) as view:
        for member in archive.members(view, infos, directory_start, _LIMITS):
            if member.name == PROGRAM and member.size <= _LARGEST_BYTES:
                return parse(archive.read(view, member).decode(), PROGRAM, _LIMITS)
    return None


def _shapes(program: Mapping[str, Json]) -> Mapping[str, Sizes]:
    """Return the sizes of each tensor that a caller passes."""
    module = program["graph_module"]
    tensors = module["graph"]["tensor_values"]
    shapes = {}
    for spec in module["signature"]["input_specs"]:
        argument = spec.get("user_input", {}).get("arg", {})
        if "as_tensor" in argument:
            name = argument["as_tensor"]["name"]
            shapes[name] = _sizes(tensors[name]["sizes"])
    return shapes


def _sizes(sizes: Sequence[Mapping[str, Json]]) -> Sizes:
    return [_size(size) for size in sizes]


def _size(size: Mapping[str, Json]) -> int | str | None:
    """Return a size as a number or as a symbol; one that is computed from symbols is not known."""
    if "as_int" in size:
        return _whole(size["as_int"])
    match = _SYMBOL.fullmatch(size["as_expr"]["expr_str"])
    return None if match is None else match[1] or match[0]


def _least(program: Mapping[str, Json]) -> Mapping[str, int]:
    """Return the least size of each symbol that has a range."""
    least = {}
    for symbol, bounds in program["range_constraints"].items():
        if bounds["min_val"] is not None:
            least[symbol] = max(1, _whole(bounds["min_val"]))
    return least


def _whole(value: Json) -> int:
    """Return a whole number; of texts and of other numbers, `int` raises errors of many kinds.

    Raises:
        TypeError: it is anything else.
    """
    if type(value) is not int:
        raise TypeError("no whole number")
    return value
