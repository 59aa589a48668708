"""The inputs of an ONNX file whose sizes the user has to state, from the file's header.

Whatever cannot be known within bounds is left to the engine.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from convpress.gate import protobuf
from convpress.gate.mapped import fields, mapped
from convpress.gate.open_sizes import Sizes, unstated
from convpress.gate.protobuf import DELIMITED, VARINT, Field

# Nodes, weights and inputs of a graph; a walk over more would take the API too long.
_MOST_FIELDS = 20_000
# Longer names are not read: the engine refuses or cuts them.
_LONGEST_NAME = 1000
_MOST_AXES = 16

# Fields of ModelProto, GraphProto, ValueInfoProto, TypeProto, its tensor, shape and dimension.
_GRAPH = 7
_INITIALIZER, _INPUT, _SPARSE = 5, 11, 15
_TENSOR_NAME = 8
_NAME, _TYPE = 1, 2
_TENSOR_TYPE = 1
_SHAPE = 2
_DIM = 1
_DIM_VALUE, _DIM_PARAM = 1, 2


class _Unknown(Exception):
    """The header is beyond the bounds, or not as exporters write it."""


def open_shape(path: Path) -> str | None:
    """Return the shapes of inputs with sizes that the file does not state, as a user writes them.

    None where the file states all, or where that cannot be known here.
    """
    # An empty file cannot be mapped; archives are left to the engine.
    if path.stat().st_size == 0:
        return None
    with mapped(path) as content:
        try:
            shapes = _Header(content).shapes()
        except (_Unknown, protobuf.MalformedMessage):
            return None
    return unstated(shapes)


class _Header:
    """The fields of a file that declare its inputs, all counted."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._walked = 0

    def shapes(self) -> Mapping[str, Sizes]:
        """Return the sizes of each input that is no weight: numbers, symbols, or None.

        An input without any shape, or one that is no tensor, is left out.

        Raises:
            _Unknown: the graph has too many fields, or repeats some.
            MalformedMessage: it is no model.
        """
        model = Field(0, DELIMITED, 0, 0, len(self._content))
        graph = self._only(model, _GRAPH)
        inputs: dict[str, Field] = {}
        weights = set()
        for field in self._fields(graph):
            if field.number == _INPUT:
                inputs[self._text(self._only(field, _NAME))] = field
            elif field.number == _INITIALIZER:
                weights.add(self._text(self._only(field, _TENSOR_NAME)))
            elif field.number == _SPARSE:
                raise _Unknown
        shapes = {}
        for name, field in inputs.items():
            sizes = None if name in weights else self._sizes(field)
            if sizes is not None:
                shapes[name] = sizes
        return shapes

    def _sizes(self, value: Field) -> Sizes | None:
        """Return the sizes of an input; None where it has no shape or is no tensor."""
        tensor = self._optional(self._only(value, _TYPE), _TENSOR_TYPE)
        shape = tensor and self._optional(tensor, _SHAPE)
        if shape is None:
            return None
        sizes = [
            self._size(field) for field in self._fields(shape) if field.number == _DIM
        ]
        if len(sizes) > _MOST_AXES:
            raise _Unknown
        return sizes

    def _size(self, dimension: Field) -> int | str | None:
        """Return a size: positive, or a symbol with a letter, or None, as the engine reads it."""
        for field in self._fields(dimension):
            if field.number == _DIM_VALUE and field.wire_type == VARINT:
                size, _ = protobuf.read_varint(self._content, field.value, field.end)
                # negative numbers have the highest bit of 64 set
                return size if 0 < size < 1 << 63 else None
            if field.number == _DIM_PARAM:
                symbol = self._text(field)
                return symbol if any(char.isalpha() for char in symbol) else None
        return None

    def _fields(self, message: Field) -> Iterator[Field]:
        if message.wire_type != DELIMITED:
            raise _Unknown
        for field in fields(self._content, message.value, message.end):
            self._walked += 1
            if self._walked > _MOST_FIELDS:
                raise _Unknown
            yield field

    def _optional(self, message: Field, number: int) -> Field | None:
        """Return a message's only field of a number, None where it has none."""
        matching = [field for field in self._fields(message) if field.number == number]
        # parsers merge repeated ones
        if len(matching) > 1:
            raise _Unknown
        return matching[0] if matching else None

    def _only(self, message: Field, number: int) -> Field:
        field = self._optional(message, number)
        if field is None:
            raise _Unknown
        return field

    def _text(self, field: Field) -> str:
        if field.wire_type != DELIMITED or field.end - field.value > _LONGEST_NAME:
            raise _Unknown
        try:
            return bytes(self._content[field.value : field.end]).decode()
        except UnicodeDecodeError as error:
            raise _Unknown from error
