"""The declared types of an ONNX file's inputs, outputs and values: bounded depth and sizes."""

from convpress.gate.onnx.sizes import BITS, bounded_size
from convpress.gate.onnx.wire import Wire, shown, signed
from convpress.gate.protobuf import DELIMITED, VARINT, Field
from convpress.gate.refusals import over_limit

_VALUE_NAME = 1
_VALUE_TYPE = 2

# A tensor and a sparse tensor; a sequence, a map and an optional, which have a type inside.
_TYPE_TENSORS = (1, 8)
_TYPE_SEQUENCE = 4
_TYPE_MAP = 5
_TYPE_OPTIONAL = 9
_MAP_VALUE = 2
_ELEMENT = 1

_TENSOR_TYPE_ELEMENT = 1
_TENSOR_TYPE_SHAPE = 2
_DIM_VALUE = 1
_DIM_SYMBOL = 2


def check_value(wire: Wire, message: Field, where: str) -> bytes:
    """Check the declared type of an input, output or value, and return its name.

    Raises:
        Refusal: `model_invalid` or `model_over_limit`.
    """
    name = b""
    once = (_VALUE_NAME, _VALUE_TYPE)
    for field in wire.fields(message, f"a value of {where}", once):
        if field.number == _VALUE_NAME:
            name = wire.text(field)
        elif field.number == _VALUE_TYPE and field.wire_type == DELIMITED:
            check_type(wire, field, f"{shown(name)} of {where}", 1)
    return name


def check_type(wire: Wire, message: Field, where: str, depth: int) -> None:
    """Check a declared type: its depth, and the sizes of tensors in it.

    Raises:
        Refusal: `model_invalid` or `model_over_limit`.
    """
    if depth > wire.limits.nesting:
        raise over_limit(
            f"the type of {where} is nested {depth} deep",
            f"at most {wire.limits.nesting}",
        )
    for field in wire.messages(message, where):
        if field.number in _TYPE_TENSORS:
            _check_tensor_type(wire, field, where)
        elif field.number == _TYPE_MAP:
            _check_inner_type(wire, field, _MAP_VALUE, where, depth)
        elif field.number in (_TYPE_SEQUENCE, _TYPE_OPTIONAL):
            _check_inner_type(wire, field, _ELEMENT, where, depth)


def _check_inner_type(
    wire: Wire, message: Field, number: int, where: str, depth: int
) -> None:
    """Check the type in field `number` of a sequence, a map or an optional."""
    for field in wire.messages(message, where, once=(_ELEMENT, _MAP_VALUE)):
        if field.number == number:
            check_type(wire, field, where, depth + 1)


def _check_tensor_type(wire: Wire, message: Field, where: str) -> None:
    """Check the size of a declared tensor, as far as its axes are known."""
    kind = 1
    dims: list[int] = []
    once = (_TENSOR_TYPE_ELEMENT, _TENSOR_TYPE_SHAPE)
    for field in wire.fields(message, where, once):
        if field.number == _TENSOR_TYPE_ELEMENT and field.wire_type == VARINT:
            kind = wire.number(field)
        elif field.number == _TENSOR_TYPE_SHAPE and field.wire_type == DELIMITED:
            dims += _declared_dims(wire, field, where)
    # Sizes that are not known are written as 0 or -1.
    known = [size for size in dims if size > 0]
    bounded_size(
        known, BITS.get(kind, 8), f"the declared shape of {where}", wire.limits
    )


def _declared_dims(wire: Wire, message: Field, where: str) -> list[int]:
    """Return the sizes of a declared shape, without axes that have a symbol."""
    sizes = []
    for dim in wire.fields(message, where):
        for field in wire.fields(dim, where, once=(_DIM_VALUE, _DIM_SYMBOL)):
            # Axes that are not known have a symbol, or nothing.
            if field.number != _DIM_VALUE or field.wire_type != VARINT:
                continue
            sizes.append(signed(wire.number(field)))
    return sizes
