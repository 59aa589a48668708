"""Rewrites of a serialised ModelProto: replace its tensors, copy every other byte.

Source: onnx.proto and the Protocol Buffers encoding specification.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from convpress.gate import protobuf
from worker.engine.formats.onnx.graph import OWN_DOMAINS

_MODEL_GRAPH = 7
_GRAPH_NODE = 1
_GRAPH_INITIALIZER = 5
_NODE_OPERATOR = 4
_NODE_ATTRIBUTE = 5
_NODE_DOMAIN = 7
_ATTRIBUTE_TENSOR = 5

TENSOR_DATA_TYPE = 2
TENSOR_FLOAT_DATA = 4
TENSOR_RAW_DATA = 9
TENSOR_DOUBLE_DATA = 10
TENSOR_EXTERNAL_DATA = 13
TENSOR_DATA_LOCATION = 14


class Extent(NamedTuple):
    """A range of bytes of the source file, to be copied into the file that is written."""

    offset: int
    length: int


Segment = bytes | Extent
"""A piece of a file that is written: bytes in memory, or bytes of the source file."""

Rewrite = Callable[[memoryview, int, int], list[Segment]]
"""Takes a buffer and the bounds of a message in it; returns the segments that replace it."""


def rewrite_model(
    view: memoryview, start: int, end: int, rewrite_tensor: Rewrite
) -> list[Segment]:
    """Copy a ModelProto, with `rewrite_tensor` applied to the tensors of its main graph.

    These are the TensorProtos of initializers and of Constant nodes.

    Raises:
        MalformedMessage: the bytes are no ModelProto.
    """

    def rewrite_attribute(view: memoryview, start: int, end: int) -> list[Segment]:
        tensors = {_ATTRIBUTE_TENSOR: rewrite_tensor}
        return _rewrite_message(view, start, end, tensors)

    def rewrite_node(view: memoryview, start: int, end: int) -> list[Segment]:
        # Other operators may need their tensors at hand: external data is for Constant alone.
        if not _is_constant(view, start, end):
            return [bytes(view[start:end])]
        attributes = {_NODE_ATTRIBUTE: rewrite_attribute}
        return _rewrite_message(view, start, end, attributes)

    def rewrite_graph(view: memoryview, start: int, end: int) -> list[Segment]:
        rewrites = {_GRAPH_NODE: rewrite_node, _GRAPH_INITIALIZER: rewrite_tensor}
        return _rewrite_message(view, start, end, rewrites)

    graphs = {_MODEL_GRAPH: rewrite_graph}
    return _rewrite_message(view, start, end, graphs)


def _rewrite_message(
    view: memoryview,
    start: int,
    end: int,
    rewrites: Mapping[int, Rewrite],
) -> list[Segment]:
    """Copy the message in `view[start:end]`, with `rewrites` applied to fields by their numbers."""
    segments: list[Segment] = []
    for field in protobuf.fields(view, start, end):
        rewrite = rewrites.get(field.number)
        if rewrite is None or field.wire_type != protobuf.DELIMITED:
            segments.append(bytes(view[field.start : field.end]))
            continue
        content = rewrite(view, field.value, field.end)
        segments.append(field_header(field.number, _total_length(content)))
        segments += content
    return segments


def field_header(number: int, length: int) -> bytes:
    """Return the bytes before the content of a length-delimited field.

    >>> field_header(9, 300).hex()
    '4aac02'
    """
    tag = number << 3 | protobuf.DELIMITED
    return protobuf.write_varint(tag) + protobuf.write_varint(length)


def _is_constant(view: memoryview, start: int, end: int) -> bool:
    """Return whether a serialised NodeProto is a Constant of ONNX's own domain."""
    # The last field of a number counts, as for parsers.
    operator = b""
    domain = b""
    for field in protobuf.fields(view, start, end):
        if field.number == _NODE_OPERATOR:
            operator = bytes(view[field.value : field.end])
        elif field.number == _NODE_DOMAIN:
            domain = bytes(view[field.value : field.end])
    domain_name = domain.decode(errors="replace")
    return operator == b"Constant" and domain_name in OWN_DOMAINS


def _total_length(segments: Sequence[Segment]) -> int:
    """Return the bytes that segments stand for."""
    length = 0
    for segment in segments:
        if isinstance(segment, Extent):
            length += segment.length
        else:
            length += len(segment)
    return length
