"""ONNX files of a few nodes, written as protocol buffers without a library.

A device that is measured then needs ONNX Runtime and numpy alone. The field numbers are those of
onnx.proto, which never change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_OPSET = 17
_IR = 8
_FLOAT, _INTEGER, _INTEGERS = 1, 2, 7
_VARINT, _BYTES = 0, 2
_LOW_BITS = 0x7F


@dataclass(frozen=True)
class Node:
    """An operator with the names of its values; attributes are whole numbers or lists of them."""

    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    name: str = ""
    attributes: Mapping[str, int | Sequence[int]] = field(default_factory=dict)


def model_bytes(
    nodes: Sequence[Node],
    inputs: Mapping[str, Sequence[int]],
    output: str,
    weights: Mapping[str, NDArray[np.float32]],
) -> bytes:
    """Return the file of a model in float32.

    Args:
        nodes: the operators, in the order of their execution.
        inputs: the shapes of the inputs by name.
        output: the name of the output.
        weights: the constants by name.
    """
    # joined once: adding to the bytes of a hundred layers would copy them a hundred times
    parts = [_message(1, _node(node)) for node in nodes]
    parts.append(_text(2, "layer"))
    for name, array in weights.items():
        tensor = _tensor(name, array)
        parts.append(_message(5, tensor))
    for name, shape in inputs.items():
        value = _value(name, shape)
        parts.append(_message(11, value))
    result = _value(output, None)
    parts.append(_message(12, result))
    graph = b"".join(parts)
    opset = _text(1, "") + _number(2, _OPSET)
    content = _number(1, _IR)
    content += _message(7, graph)
    content += _message(8, opset)
    return content


def _node(node: Node) -> bytes:
    content = b"".join(_text(1, name) for name in node.inputs)
    content += b"".join(_text(2, name) for name in node.outputs)
    content += _text(3, node.name) + _text(4, node.op)
    for name, value in node.attributes.items():
        content += _message(5, _attribute(name, value))
    return content


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    content = _text(1, name)
    if isinstance(value, int):
        return content + _number(3, value) + _number(20, _INTEGER)
    content += b"".join(_number(8, each) for each in value)
    return content + _number(20, _INTEGERS)


def _tensor(name: str, array: NDArray[np.float32]) -> bytes:
    content = b"".join(_number(1, size) for size in array.shape)
    content += _number(2, _FLOAT)
    content += _text(8, name)
    elements = array.astype("<f4")
    raw = elements.tobytes()
    return content + _message(9, raw)


def _value(name: str, shape: Sequence[int] | None) -> bytes:
    """Return a named value of float32; its shape is unknown where it is None."""
    tensor = _number(1, _FLOAT)
    if shape is not None:
        sizes = [_number(1, size) for size in shape]
        dimensions = [_message(1, size) for size in sizes]
        joined = b"".join(dimensions)
        tensor += _message(2, joined)
    kind = _message(1, tensor)
    return _text(1, name) + _message(2, kind)


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3 | _VARINT) + _varint(value)


def _text(tag: int, text: str) -> bytes:
    return _message(tag, text.encode())


def _message(tag: int, content: bytes) -> bytes:
    return _varint(tag << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Return a number that is not negative, seven bits a byte, the lowest first.

    >>> _varint(300).hex()
    'ac02'
    """
    content = bytearray()
    while value > _LOW_BITS:
        content.append(value & _LOW_BITS | _LOW_BITS + 1)
        value >>= 7
    content.append(value)
    return bytes(content)
