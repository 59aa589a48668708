"""ONNX files without their weights: a small skeleton whose weights point into the file, and the way back to a file.

The file is a model, or a bundle: an archive of a model and the files with its weights, all of them stored uncompressed.

Parsing a whole ModelProto copies every weight, several times over; so the wire format is rewritten instead. In the main
graph, each large initializer and Constant becomes external data whose file is the model itself, which every ONNX
library maps into memory lazily. All else is copied byte for byte, so are bodies of Ifs and Loops: ONNX Runtime takes
no external data there from a file of several hard links, as the service's own files are.

Source: onnx.proto and ONNX's ExternalData.md.
"""

import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from convpress.formats import FIELD
from convpress.gate import bundle, protobuf
from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.graph import OWN_DOMAINS, nested_tensors
from worker.engine.numerics import memory

LIFTED_BYTES = 1024
"""The least weight that is worth a reference instead of its bytes."""

# Field numbers of ModelProto, GraphProto, NodeProto, AttributeProto and TensorProto, in this order.
_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_OPERATOR, _ATTRIBUTE, _DOMAIN = 4, 5, 7
_TENSOR = 5
_DATA_TYPE, _FLOAT_DATA, _RAW_DATA, _DOUBLE_DATA, _EXTERNAL_DATA, _DATA_LOCATION = (
    2,
    4,
    9,
    10,
    13,
    14,
)
# A packed array of fixed-size numbers lies in the file as raw data does: little-endian, one behind the other.
_SAME_AS_RAW = {_FLOAT_DATA: TensorProto.FLOAT, _DOUBLE_DATA: TensorProto.DOUBLE}
_COPIED_AT_ONCE = 1 << 20
_LEAST_MAPPED = 1 << 20  # below, a copy costs less than a mapping


class Extent(NamedTuple):
    """Bytes of the source file that stand for themselves in a file being written."""

    offset: int
    length: int


Segment = bytes | Extent
Rewrite = Callable[[memoryview, int, int], list[Segment]]
"""Turns the message that lies between two offsets into what is written in its place."""


@dataclass(frozen=True)
class _Source:
    """The file that a skeleton refers to, by its name, and the files of a bundle that were used so far."""

    location: str
    archive: bundle.Bundle | None
    view: memoryview
    used: set[str]


def skeleton(path: Path) -> bytes:
    """Return the model at `path`, serialised, with its large weights as external data in the file itself.

    The file is `path.resolve()`: its name is the location, its directory is what the location is relative to.

    Raises:
        Refusal: `model_invalid` for what is no protocol-buffers message, `model_unsupported` for a weight in a file
            that did not come with the model.
    """
    return _skeleton(path)[0]


def files_of_weights(path: Path) -> set[str]:
    """Return the names of those files of the bundle at `path` that its model refers to."""
    return _skeleton(path)[1]


def _skeleton(path: Path) -> tuple[bytes, set[str]]:
    source = path.resolve()
    if source.stat().st_size == 0:
        raise _invalid("the file is empty", "0 bytes")
    archive = bundle.read(source)
    start, end = archive.model.extent if archive else (0, source.stat().st_size)

    def lift(view: memoryview, start: int, end: int) -> list[Segment]:
        return [_lifted(view, start, end, origin)]

    with (
        source.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        origin = _Source(source.name, archive, view, set())
        try:
            segments = _rewritten_model(view, start, end, lift)
        except protobuf.MalformedMessage as error:
            raise _invalid(
                f"the file is damaged: {error}", "bytes that are no ONNX model"
            ) from error
        serialised = b"".join(segment for segment in segments if isinstance(segment, bytes))
        return (_with_nested_found(serialised, origin) if archive else serialised), origin.used


def read(path: Path) -> ModelProto:
    """Parse the skeleton of the model at `path`.

    Raises:
        Refusal: `model_invalid` where it cannot be parsed, `model_unsupported` where weights lie in other files.
    """
    try:
        model = ModelProto.FromString(skeleton(path))
    except DecodeError as error:
        raise _invalid(
            f"the file cannot be parsed: {error}", "bytes that are no ONNX model"
        ) from error
    if not _is_text(model):
        raise _invalid("a name in the model is not UTF-8", "bytes that are no text")
    if bundle.kind_of(path) is None and any(
        is_external(tensor) for tensor in nested_tensors(model)
    ):
        raise _weights_elsewhere("another file")
    return model


def write(model: ModelProto, source: Path, target: Path) -> None:
    """Write a skeleton that was read from `source` as one whole file, with the weights copied from there.

    Raises:
        ValueError: `target` is `source`.
    """
    if target.exists() and target.samefile(source):
        raise ValueError(
            f"a model cannot be written over the file that holds its weights: {target}"
        )
    with memoryview(model.SerializeToString()) as view:
        segments = _rewritten_model(view, 0, len(view), _lowered)
    with target.open("wb") as out:
        for chunk in chunks(segments, source):
            out.write(chunk)


def chunks(segments: Iterable[Segment], source: Path) -> Iterator[bytes]:
    """Yield what segments stand for, a little at a time."""
    with source.open("rb") as weights:
        for segment in segments:
            if isinstance(segment, bytes):
                yield segment
                continue
            weights.seek(segment.offset)
            left = segment.length
            while left:
                chunk = weights.read(min(left, _COPIED_AT_ONCE))
                if not chunk:
                    raise OSError(f"{source} became shorter while its weights were copied")
                yield chunk
                left -= len(chunk)


def array(tensor: TensorProto, source: Path) -> NDArray[np.generic]:
    """Return a tensor of a skeleton that was read from `source`, as an array of its own.

    Raises:
        Refusal: `model_invalid` where its data does not fill its shape.
    """
    if is_external(tensor):
        dtype, extent = _stored(tensor)
        elements = np.fromfile(source, dtype, count=prod(tensor.dims), offset=extent.offset)
        return elements.reshape(tuple(tensor.dims))
    try:
        return numpy_helper.to_array(tensor)
    except (KeyError, TypeError, ValueError) as error:
        raise _unfilled(tensor, error) from error


def mapped(tensor: TensorProto, source: Path) -> NDArray[np.generic]:
    """Return what `array` returns, but a large tensor over the file itself, of which only pages that are read are kept.

    Such an array may begin at any byte. Writing to it does not change the file.

    Raises:
        Refusal: `model_invalid` where its data does not fill its shape.
    """
    if not is_external(tensor) or extent_of(tensor).length < _LEAST_MAPPED:
        return array(tensor, source)
    dtype, extent = _stored(tensor)
    return memory.mapped(source, dtype, extent.offset, tuple(tensor.dims))


def _stored(tensor: TensorProto) -> tuple[np.dtype[np.generic], Extent]:
    """Return the type and the place of a weight that lies in the file, which its shape has to fill."""
    try:
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        extent = extent_of(tensor)
        if extent.length != prod(tensor.dims) * dtype.itemsize:
            raise ValueError(f"{extent.length} bytes")
    except (KeyError, TypeError, ValueError) as error:
        raise _unfilled(tensor, error) from error
    return dtype, extent


def _unfilled(tensor: TensorProto, error: Exception) -> Refusal:
    return _invalid(
        f"the data of {tensor.name!r} does not fill its shape {tuple(tensor.dims)}: {error}",
        f"a tensor of type {tensor.data_type}",
    )


def _rewritten_model(view: memoryview, start: int, end: int, weight: Rewrite) -> list[Segment]:
    """Copy a ModelProto with `weight` applied to the TensorProtos of its main graph's initializers and Constants."""

    def attribute(view: memoryview, start: int, end: int) -> list[Segment]:
        return _rewritten(view, start, end, {_TENSOR: weight})

    def node(view: memoryview, start: int, end: int) -> list[Segment]:
        if not _is_constant(view, start, end):
            return [bytes(view[start:end])]
        return _rewritten(view, start, end, {_ATTRIBUTE: attribute})

    def graph(view: memoryview, start: int, end: int) -> list[Segment]:
        return _rewritten(view, start, end, {_NODE: node, _INITIALIZER: weight})

    return _rewritten(view, start, end, {_GRAPH: graph})


def _rewritten(
    view: memoryview, start: int, end: int, rewrites: Mapping[int, Rewrite]
) -> list[Segment]:
    """Copy the message in `view[start:end]`, with the messages in its fields of these numbers rewritten."""
    segments: list[Segment] = []
    for field in protobuf.fields(view, start, end):
        if field.number not in rewrites or field.wire_type != protobuf.DELIMITED:
            segments.append(bytes(view[field.start : field.end]))
            continue
        inner = rewrites[field.number](view, field.value, field.end)
        segments.append(
            _tag(field.number, protobuf.DELIMITED) + protobuf.write_varint(_size(inner))
        )
        segments += inner
    return segments


def _is_constant(view: memoryview, start: int, end: int) -> bool:
    """Return whether a serialised NodeProto is ONNX's Constant: other operators may need their tensors at hand."""
    said = {
        field.number: bytes(view[field.value : field.end])
        for field in protobuf.fields(view, start, end)
        if field.number in (_OPERATOR, _DOMAIN)
    }
    return (
        said.get(_OPERATOR) == b"Constant"
        and said.get(_DOMAIN, b"").decode(errors="replace") in OWN_DOMAINS
    )


def _lifted(view: memoryview, start: int, end: int, origin: _Source) -> bytes:
    """Return a serialised TensorProto with a large payload replaced by where it lies."""
    fields = list(protobuf.fields(view, start, end))
    for field in fields:
        is_location = field.number == _DATA_LOCATION and field.wire_type == protobuf.VARINT
        if field.number == _EXTERNAL_DATA or (
            is_location and view[field.value] == TensorProto.EXTERNAL
        ):
            tensor = TensorProto.FromString(bytes(view[start:end]))
            _find(tensor, origin)
            return tensor.SerializeToString()
    payload = _payload(view, fields)
    if payload is None or payload.end - payload.value < LIFTED_BYTES:
        return bytes(view[start:end])
    kept = b"".join(
        bytes(view[field.start : field.end]) for field in fields if field is not payload
    )
    reference = TensorProto()
    refer(reference, origin.location, Extent(payload.value, payload.end - payload.value))
    return kept + reference.SerializeToString()


def _with_nested_found(serialised: bytes, origin: _Source) -> bytes:
    """Return a skeleton in which all but the main graph's own tensors hold what lies elsewhere in the archive."""
    try:
        model = ModelProto.FromString(serialised)
    except DecodeError:
        return serialised  # told where it is parsed for good
    for tensor in nested_tensors(model):
        if is_external(tensor):
            _find(tensor, origin, inline=True)
    return model.SerializeToString()


def _find(tensor: TensorProto, origin: _Source, *, inline: bool = False) -> None:
    """Make a tensor that refers to a file of the bundle refer to the bundle itself, or hold what is little or inline.

    Raises:
        Refusal: `model_unsupported` where there is no such file, `model_invalid` where it is too short.
    """
    said = {entry.key: entry.value for entry in tensor.external_data}
    wanted = said.get("location", "")
    member = origin.archive.find(wanted) if origin.archive else None
    if member is None:
        raise _weights_elsewhere(wanted)
    origin.used.add(member.name)
    try:
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        offset = int(said.get("offset") or 0)
        length = int(said.get("length") or prod(tensor.dims) * dtype.itemsize)
    except (KeyError, ValueError) as error:
        raise _invalid(
            f"where the data of {tensor.name!r} lies cannot be read: {error}", str(said)[:200]
        ) from error
    start, end = member.extent
    if min(offset, length) < 0 or start + offset + length > end:
        raise _invalid(
            f"the data of {tensor.name!r} ends beyond the file {wanted[:80]!r}",
            f"{length} bytes from byte {offset} of {member.size}",
        )
    if length >= LIFTED_BYTES and not inline:
        refer(tensor, origin.location, Extent(start + offset, length))
        return
    for field in ("external_data", "data_location"):
        tensor.ClearField(field)
    tensor.raw_data = bytes(origin.view[start + offset : start + offset + length])


def refer(tensor: TensorProto, location: str, extent: Extent) -> None:
    """Say of a tensor that its elements are these bytes of this file."""
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (
        ("location", location),
        ("offset", str(extent.offset)),
        ("length", str(extent.length)),
    ):
        tensor.external_data.add(key=key, value=value)


def _payload(view: memoryview, fields: Sequence[protobuf.Field]) -> protobuf.Field | None:
    """Return the one field that holds a tensor's elements as they lie in memory, if there is just one such."""
    held = [field for field in fields if field.number in (_RAW_DATA, _FLOAT_DATA, _DOUBLE_DATA)]
    if len(held) != 1 or held[0].wire_type != protobuf.DELIMITED:
        return None
    if held[0].number == _RAW_DATA:
        return held[0]
    types = [
        protobuf.read_varint(view, field.value, field.end)[0]
        for field in fields
        if field.number == _DATA_TYPE
    ]
    return held[0] if types == [_SAME_AS_RAW[held[0].number]] else None


def _lowered(view: memoryview, start: int, end: int) -> list[Segment]:
    """Return a serialised TensorProto with its raw data in the place of where it lies."""
    tensor = TensorProto.FromString(bytes(view[start:end]))
    if not is_external(tensor):
        return [bytes(view[start:end])]
    extent = extent_of(tensor)
    before: list[Segment] = []
    behind: list[Segment] = []
    for field in protobuf.fields(view, start, end):
        if field.number not in (_EXTERNAL_DATA, _DATA_LOCATION):
            (before if field.number < _RAW_DATA else behind).append(
                bytes(view[field.start : field.end])
            )
    tag = _tag(_RAW_DATA, protobuf.DELIMITED) + protobuf.write_varint(extent.length)
    return [*before, tag, extent, *behind]


def _is_text(message: Message) -> bool:
    """Return whether all strings below are text. Parsing lets other bytes pass, the libraries stumble over them."""
    for field, value in message.ListFields():
        values = value if field.is_repeated else (value,)
        if field.type == field.TYPE_STRING and any(isinstance(string, bytes) for string in values):
            return False
        if field.type == field.TYPE_MESSAGE and not all(_is_text(inner) for inner in values):
            return False
    return True


def extent_of(tensor: TensorProto) -> Extent:
    """Return which bytes of the source a tensor of a skeleton refers to."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return Extent(int(entries["offset"]), int(entries["length"]))


def is_external(tensor: TensorProto) -> bool:
    """Return whether a tensor's elements lie elsewhere than in itself."""
    return tensor.data_location == TensorProto.EXTERNAL or len(tensor.external_data) > 0


def _tag(number: int, wire_type: int) -> bytes:
    return protobuf.write_varint(number << 3 | wire_type)


def _size(segments: Sequence[Segment]) -> int:
    return sum(
        segment.length if isinstance(segment, Extent) else len(segment) for segment in segments
    )


def _invalid(detail: str, got: str) -> Refusal:
    return Refusal(
        Code.MODEL_INVALID,
        detail,
        field=FIELD,
        expected="an ONNX model that can be parsed",
        got=got,
    )


def _weights_elsewhere(location: str) -> Refusal:
    return Refusal(
        Code.MODEL_UNSUPPORTED,
        "weights of the model lie in a file that did not come with it (external data): send both as one zip or tar "
        "archive, or save the model as one file (onnx.save with save_as_external_data=False)",
        field=FIELD,
        expected="an ONNX file that holds its weights, or a bundle of it and the files that do",
        got=f"a reference to {location[:80]!r}",
    )
