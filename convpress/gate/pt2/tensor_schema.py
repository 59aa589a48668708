"""The schema of tensors: their types, sizes, layouts and devices."""

from math import prod

from convpress.gate.pt2.expressions import expression
from convpress.gate.pt2.json_text import Json
from convpress.gate.pt2.schema import (
    Check,
    Place,
    brief,
    flag,
    integer,
    list_of,
    nullable,
    record,
    shown,
    text,
    unexpected,
    union,
)
from convpress.gate.refusals import over_limit, unsafe, unsupported
from convpress.limits import Limits

DTYPES: dict[int, tuple[str, int]] = {
    1: ("uint8", 1),
    2: ("int8", 1),
    3: ("int16", 2),
    4: ("int32", 4),
    5: ("int64", 8),
    6: ("float16", 2),
    7: ("float32", 4),
    8: ("float64", 8),
    9: ("complex32", 4),
    10: ("complex64", 8),
    11: ("complex128", 16),
    12: ("bool", 1),
    13: ("bfloat16", 2),
    28: ("uint16", 2),
    29: ("float8_e4m3fn", 1),
    30: ("float8_e5m2", 1),
    31: ("float8_e4m3fnuz", 1),
    32: ("float8_e5m2fnuz", 1),
    33: ("float8_e8m0fnu", 1),
    34: ("uint32", 4),
    35: ("uint64", 8),
}
"""Names of types, and their sizes in bytes, by torch's number for them."""

_STRIDED = 7
_MOST_AXES = 64
_LONGEST_DEVICE = 20


def dtype(value: Json, place: Place) -> None:
    """Require the number of a type."""
    if type(value) is not int or value not in DTYPES:
        raise unexpected(value, place, "the number of a type of tensors")


def layout(value: Json, place: Place) -> None:
    """Require the number of the dense layout.

    Raises:
        Refusal: `model_unsupported` for sparse and other layouts.
    """
    if type(value) is not int:
        raise unexpected(value, place, "the number of a layout")
    if value != _STRIDED:
        raise unsupported(
            f"{shown(place)} is {brief(value)}, a sparse tensor or one of another layout",
            f"dense tensors, of layout {_STRIDED}",
        )


def device(value: Json, place: Place) -> None:
    """Require the processor as the device.

    Raises:
        Refusal: `model_unsupported` for others, with what to do.
    """
    _is_device(value, place)
    if value["type"] != "cpu":
        raise unsupported(
            f"{shown(place)} is {brief(value['type'])}: move the program to the processor by "
            'torch.export.passes.move_to_device_pass(program, "cpu"), and save it again',
            "tensors on the device cpu",
        )


_is_device = record(
    {"type": text(_LONGEST_DEVICE)}, {"index": nullable(integer(0, 1000))}
)


def refused_object(_value: Json, place: Place) -> None:
    """Refuse what torch unpickles, or looks up, and runs.

    Raises:
        Refusal: `model_unsafe`.
    """
    raise unsafe(
        f"{shown(place)} is an object or a function outside of the graph",
        "tensors, numbers and texts",
    )


def refused_class(_value: Json, place: Place) -> None:
    """Refuse a structure of a class of some package.

    Raises:
        Refusal: `model_unsupported`.
    """
    raise unsupported(
        f"{shown(place)} names a class of named tuples: let the network take and return tuples, "
        "lists and dictionaries, and export it again",
        "tuples, lists and dictionaries of tensors",
    )


def tensor_meta(limits: Limits) -> Check:
    """Return a check for the description of a tensor, whose sizes may be expressions.

    The check raises:
        Refusal: `model_over_limit` for a tensor that is larger than the limit, with the hints of
            its expressions; and the refusals of its parts.
    """
    hint = union({"as_int": integer()})
    symbolic = record({"expr_str": expression(limits)}, {"hint": nullable(hint)})
    size = union({"as_expr": symbolic, "as_int": integer(0)})
    sizes = list_of(size, _MOST_AXES)
    is_tensor = record(
        {
            "dtype": dtype,
            "sizes": sizes,
            "requires_grad": flag,
            "device": device,
            "strides": sizes,
            "storage_offset": size,
            "layout": layout,
        }
    )

    def check(value: Json, place: Place) -> None:
        is_tensor(value, place)
        if len(value["sizes"]) != len(value["strides"]):
            raise unexpected(
                value["strides"], (place, "strides"), "as many strides as sizes"
            )
        count = prod(map(_least, value["sizes"]))
        size_bytes = count * DTYPES[value["dtype"]][1]
        if size_bytes > limits.tensor_bytes:
            raise over_limit(
                f"{shown(place)} is a tensor of {size_bytes} bytes",
                f"at most {limits.tensor_bytes} bytes",
            )

    return check


def _least(size: dict[str, Json]) -> int:
    """Return a size, or the hint for one that is an expression; 1 without one."""
    if "as_int" in size:
        return int(size["as_int"])
    hint = size["as_expr"].get("hint")
    return 1 if hint is None else max(1, int(hint["as_int"]))
