"""The skeleton of an ONNX file: the model without its large weights, which refer to the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from google.protobuf.message import DecodeError, Message
from onnx import ModelProto, TensorProto, helper

from convpress.gate import bundle, protobuf
from convpress.gate.mapped import mapped
from worker.engine.formats.onnx.graph import nested_tensors
from worker.engine.formats.onnx.storage.refusals import invalid_file, missing_weights
from worker.engine.formats.onnx.storage.tensors import is_external, set_reference
from worker.engine.formats.onnx.storage.wire import (
    TENSOR_DATA_LOCATION,
    TENSOR_DATA_TYPE,
    TENSOR_DOUBLE_DATA,
    TENSOR_EXTERNAL_DATA,
    TENSOR_FLOAT_DATA,
    TENSOR_RAW_DATA,
    Extent,
    Segment,
    rewrite_model,
)

LARGE_TENSOR_BYTES = 1024
"""From this size on, a reference takes clearly less than the data."""

# A packed field of numbers has the same bytes as raw data: little-endian, without gaps.
_PACKED_TYPES = {
    TENSOR_FLOAT_DATA: TensorProto.FLOAT,
    TENSOR_DOUBLE_DATA: TensorProto.DOUBLE,
}
_DATA_FIELDS = (TENSOR_RAW_DATA, *_PACKED_TYPES)


@dataclass(frozen=True)
class _Source:
    """The file of a skeleton, its bundle if it is one, and the bundle's members used so far."""

    location: str
    archive: bundle.Bundle | None
    view: memoryview
    used: set[str]


def read(path: Path) -> ModelProto:
    """Parse the skeleton of the model at `path`.

    Raises:
        Refusal: `model_invalid` where it cannot be parsed, `model_unsupported` where weights are
            in other files.
    """
    serialised = skeleton(path)
    try:
        model = ModelProto.FromString(serialised)
    except DecodeError as error:
        detail = f"the file cannot be parsed: {error}"
        raise invalid_file(detail, "bytes that are no ONNX model") from error
    if not _is_text(model):
        raise invalid_file("a name in the model is not UTF-8", "bytes that are no text")
    is_bundle = bundle.kind_of(path) is not None
    if not is_bundle and any(map(is_external, nested_tensors(model))):
        raise missing_weights("another file")
    return model


def skeleton(path: Path) -> bytes:
    """Return the serialised model at `path`, with its large weights as references to the file.

    The references name the file `path.resolve()` and are relative to its directory.

    Raises:
        Refusal: `model_invalid` for bytes that are no protocol-buffers message,
            `model_unsupported` for a weight in a file that was not uploaded.
    """
    return _read_skeleton(path)[0]


def weight_files(path: Path) -> set[str]:
    """Return the names of the files in the bundle at `path` that its model refers to."""
    return _read_skeleton(path)[1]


def _read_skeleton(path: Path) -> tuple[bytes, set[str]]:
    """Return the serialised skeleton, and the names of the bundle's members that it refers to."""
    file_path = path.resolve()
    size = file_path.stat().st_size
    # An empty file cannot be mapped.
    if size == 0:
        raise invalid_file("the file is empty", "0 bytes")
    archive = bundle.read(file_path)
    start, end = archive.model.extent if archive else (0, size)
    with mapped(file_path) as view:
        source = _Source(file_path.name, archive, view, set())
        serialised = _replace_weights(source, start, end)
        if archive is not None:
            serialised = _resolve_nested(serialised, source)
        return serialised, source.used


def _replace_weights(source: _Source, start: int, end: int) -> bytes:
    """Return the model in the file's bytes [start, end) with references for large weights."""

    def replace(view: memoryview, start: int, end: int) -> list[Segment]:
        return [_with_reference(view, start, end, source)]

    try:
        segments = rewrite_model(source.view, start, end, replace)
    except protobuf.MalformedMessage as error:
        detail = f"the file is damaged: {error}"
        raise invalid_file(detail, "bytes that are no ONNX model") from error
    parts = [segment for segment in segments if isinstance(segment, bytes)]
    return b"".join(parts)


def _with_reference(view: memoryview, start: int, end: int, source: _Source) -> bytes:
    """Return a serialised TensorProto with a reference in the place of large data."""
    fields = list(protobuf.fields(view, start, end))
    if any(_marks_external(view, field) for field in fields):
        serialised = bytes(view[start:end])
        tensor = TensorProto.FromString(serialised)
        _resolve(tensor, source)
        return tensor.SerializeToString()
    # Small tensors stay: shapes and axes must be known without the file.
    data = _data_field(view, fields)
    if data is None:
        return bytes(view[start:end])
    length = data.end - data.value
    if length < LARGE_TENSOR_BYTES:
        return bytes(view[start:end])
    others = [bytes(view[field.start : field.end]) for field in fields if field != data]
    reference = TensorProto()
    extent = Extent(data.value, length)
    set_reference(reference, source.location, extent)
    return b"".join([*others, reference.SerializeToString()])


def _marks_external(view: memoryview, field: protobuf.Field) -> bool:
    """Return whether a field of a TensorProto says that its data is in a file."""
    if field.number == TENSOR_EXTERNAL_DATA:
        return True
    is_location = (
        field.number == TENSOR_DATA_LOCATION and field.wire_type == protobuf.VARINT
    )
    return is_location and view[field.value] == TensorProto.EXTERNAL


def _data_field(
    view: memoryview, fields: Sequence[protobuf.Field]
) -> protobuf.Field | None:
    """Return the only field with a tensor's data, if its bytes are those of the array."""
    data_fields = [field for field in fields if field.number in _DATA_FIELDS]
    # Data in two fields is ambiguous: leave it to the parser.
    if len(data_fields) != 1:
        return None
    data = data_fields[0]
    if data.wire_type != protobuf.DELIMITED:
        return None
    if data.number == TENSOR_RAW_DATA:
        return data
    types = [
        protobuf.read_varint(view, field.value, field.end)[0]
        for field in fields
        if field.number == TENSOR_DATA_TYPE
    ]
    if types != [_PACKED_TYPES[data.number]]:
        return None
    return data


def _resolve_nested(serialised: bytes, source: _Source) -> bytes:
    """Return a bundle's skeleton with the data of nested tensors copied into it.

    Nested tensors are those of bodies and functions, where references are not allowed.
    """
    try:
        model = ModelProto.FromString(serialised)
    except DecodeError:
        # `read` parses the same bytes again and refuses them.
        return serialised
    for tensor in nested_tensors(model):
        if is_external(tensor):
            _resolve(tensor, source, inline=True)
    return model.SerializeToString()


def _resolve(tensor: TensorProto, source: _Source, *, inline: bool = False) -> None:
    """Turn a reference to a bundle's member into one to the bundle, or into data.

    Data is copied into the tensor where it is small, or `inline` asks for it.

    Raises:
        Refusal: `model_unsupported` where the bundle has no such member, `model_invalid` where the
            member is too short.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    member = source.archive.find(location) if source.archive else None
    if member is None:
        raise missing_weights(location)
    source.used.add(member.name)
    try:
        needed = _needed_bytes(tensor)
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or needed)
    except (KeyError, ValueError) as error:
        detail = f"the place of the data of {tensor.name!r} cannot be read: {error}"
        raise invalid_file(detail, str(entries)[:200]) from error
    start, end = member.extent
    first = start + offset
    last = first + length
    if min(offset, length) < 0 or last > end:
        raise invalid_file(
            f"the data of {tensor.name!r} ends after the file {location[:80]!r}",
            f"{length} bytes from byte {offset} of {member.size}",
        )
    if length >= LARGE_TENSOR_BYTES and not inline:
        set_reference(tensor, source.location, Extent(first, length))
        return
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    tensor.raw_data = bytes(source.view[first:last])


def _needed_bytes(tensor: TensorProto) -> int:
    """Return the bytes that a tensor's shape and type need."""
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(prod(tensor.dims) * dtype.itemsize)


def _is_text(message: Message) -> bool:
    """Return whether all strings of a message are text, to any depth.

    Parsing accepts other bytes, but the libraries fail on them later.
    """
    for field, value in message.ListFields():
        values = value if field.is_repeated else (value,)
        is_string = field.type == field.TYPE_STRING
        if is_string and any(isinstance(string, bytes) for string in values):
            return False
        is_message = field.type == field.TYPE_MESSAGE
        if is_message and not all(map(_is_text, values)):
            return False
    return True
