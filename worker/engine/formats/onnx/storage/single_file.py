"""Write a skeleton back as one ONNX file, with the weights copied from its source."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from onnx import ModelProto, TensorProto

from convpress.gate import protobuf
from worker.engine.formats.onnx.storage.tensors import extent_of, is_external
from worker.engine.formats.onnx.storage.wire import (
    TENSOR_DATA_LOCATION,
    TENSOR_EXTERNAL_DATA,
    TENSOR_RAW_DATA,
    Segment,
    field_header,
    rewrite_model,
)

# Memory for copies stays small, however large the weights are.
_CHUNK_BYTES = 1 << 20


def write(model: ModelProto, source: Path, target: Path) -> None:
    """Write a skeleton that was read from `source` as one file at `target`.

    Raises:
        ValueError: `target` is `source`.
    """
    if target.exists() and target.samefile(source):
        raise ValueError(
            f"a model cannot be written over the file that holds its weights: {target}"
        )
    # The skeleton is small; the weights go from file to file.
    with memoryview(model.SerializeToString()) as view:
        segments = rewrite_model(view, 0, len(view), _with_data)
    with target.open("wb") as out:
        for chunk in chunks(segments, source):
            out.write(chunk)


def chunks(segments: Iterable[Segment], source: Path) -> Iterator[bytes]:
    """Yield the content of segments, at most 1 MiB of the source file at once.

    Raises:
        OSError: the source file became shorter.
    """
    with source.open("rb") as weights:
        for segment in segments:
            if isinstance(segment, bytes):
                yield segment
                continue
            weights.seek(segment.offset)
            remaining = segment.length
            while remaining:
                chunk = weights.read(min(remaining, _CHUNK_BYTES))
                if not chunk:
                    raise OSError(
                        f"{source} became shorter while its weights were copied"
                    )
                yield chunk
                remaining -= len(chunk)


def _with_data(view: memoryview, start: int, end: int) -> list[Segment]:
    """Return a serialised TensorProto with its raw data in the place of its reference."""
    serialised = bytes(view[start:end])
    tensor = TensorProto.FromString(serialised)
    if not is_external(tensor):
        return [serialised]
    extent = extent_of(tensor)
    # An unedited model must come back byte for byte, so fields stay ordered by number.
    before: list[Segment] = []
    after: list[Segment] = []
    for field in protobuf.fields(view, start, end):
        references = (TENSOR_EXTERNAL_DATA, TENSOR_DATA_LOCATION)
        if field.number in references:
            continue
        side = before if field.number < TENSOR_RAW_DATA else after
        content = bytes(view[field.start : field.end])
        side.append(content)
    header = field_header(TENSOR_RAW_DATA, extent.length)
    return [*before, header, extent, *after]
