"""What kind of model a file is, told from its container alone: nothing in it is loaded, unpickled or run."""

import io
import mmap
import struct
import zipfile
from pathlib import Path
from typing import Literal

from convpress.gate import bundle, protobuf
from convpress.refusal import Code, Refusal

Format = Literal["onnx", "torchscript"]

FIELD = "model"
EXPECTED = (
    "an ONNX model (.onnx, or a zip or tar archive of it and the files with its weights) or a TorchScript archive "
    "(torch.jit.save)"
)

_EXPORT_INSTEAD = (
    "it is a Python pickle (a state_dict or a whole nn.Module saved by torch.save), which carries no network that "
    "can be opened safely; export it with torch.jit.trace(model, example).save(...) or torch.onnx.export instead"
)
_MOST_FIELDS = 100_000  # of a ModelProto itself: opsets, metadata, local functions
_LARGEST_DIRECTORY = 4 * 1024**2  # of a zip archive, in bytes: some 40,000 members
ZIP_MAGIC, _PICKLE_MAGIC = b"PK\x03\x04", b"\x80"
_NO_FIELD, _IR_VERSION, _GRAPH = 0, 1, 7
# ir_version, producer_name, producer_version, domain, model_version, doc_string, graph, opset_import,
# metadata_props, training_info, functions, configuration
_MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})


def identify(path: Path) -> Format:
    """Return the format of the model at `path`.

    Raises:
        Refusal: `model_empty`, `model_truncated`, `model_pickled` or `model_unrecognised`, with what was found.
    """
    size = path.stat().st_size
    if size == 0:
        raise Refusal(
            Code.MODEL_EMPTY, "the file is empty", field=FIELD, expected=EXPECTED, got="0 bytes"
        )
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] == ZIP_MAGIC:
            return _identify_archive(path)
        if content[:1] == _PICKLE_MAGIC:
            raise Refusal(
                Code.MODEL_PICKLED, _EXPORT_INSTEAD, field=FIELD, expected=EXPECTED, got="a pickle"
            )
        if bundle.kind_of(path) == "tar":
            bundle.read(path)
            return "onnx"
        with memoryview(content) as view:
            return _identify_message(view, size)


class SmallReads(io.FileIO):
    """A file that gives no more than a directory's worth at once: zipfile would keep an object for every member."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes, or what a directory may take."""
        if size is not None and size > _LARGEST_DIRECTORY:
            raise zipfile.BadZipFile(
                f"a directory of {size} bytes, where {_LARGEST_DIRECTORY} are plenty"
            )
        return super().read(_LARGEST_DIRECTORY if size is None or size < 0 else size)


def directory(path: Path) -> tuple[list[zipfile.ZipInfo], int]:
    """Return the members of the zip archive at `path` and where its directory begins.

    Raises:
        Refusal: `model_truncated` where it has no readable directory.
    """
    try:
        with SmallReads(path) as file, zipfile.ZipFile(file) as archive:
            return archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise Refusal(
            Code.MODEL_TRUNCATED,
            f"the zip archive has no readable directory at its end ({error}); was the upload cut short?",
            field=FIELD,
            expected=EXPECTED,
            got=f"{path.stat().st_size} bytes that begin as a zip archive",
        ) from error


def _identify_archive(path: Path) -> Format:
    names = [info.filename for info in directory(path)[0]]
    members = {name.partition("/")[2] for name in names}
    has_code = any(member.startswith("code/") for member in members)
    if "constants.pkl" in members and "data.pkl" in members and has_code:
        return "torchscript"
    if "data.pkl" in members:
        raise Refusal(
            Code.MODEL_PICKLED,
            _EXPORT_INSTEAD,
            field=FIELD,
            expected=EXPECTED,
            got="a pickle archive",
        )
    if any(name.endswith(bundle.SUFFIX) for name in names):
        bundle.read(path)
        return "onnx"
    raise Refusal(
        Code.MODEL_UNRECOGNISED,
        "the zip archive is neither a TorchScript archive, it has no code/, data.pkl and constants.pkl, nor one of an "
        "ONNX model, it has no .onnx file",
        field=FIELD,
        expected=EXPECTED,
        got="a zip archive with " + (", ".join(sorted(names)[:3])[:200] or "no members"),
    )


def _identify_message(content: memoryview, size: int) -> Format:
    """An ONNX file is a ModelProto: its known top-level fields, and nothing beyond the file's end."""
    seen: set[int] = set()
    problem = None
    try:
        for count, field in enumerate(protobuf.fields(content, 0, size)):
            seen.add(field.number if count < _MOST_FIELDS else _NO_FIELD)
            if not seen <= _MODEL_FIELDS:
                break
    except protobuf.MalformedMessage as error:
        problem = str(error)
    if problem is None and _GRAPH in seen and seen <= _MODEL_FIELDS:
        return "onnx"
    if problem and _IR_VERSION in seen and seen <= _MODEL_FIELDS and bytes(content[:1]) == b"\x08":
        raise Refusal(
            Code.MODEL_TRUNCATED,
            f"the ONNX file is cut short or damaged: {problem}",
            field=FIELD,
            expected=EXPECTED,
            got=f"{size} bytes that begin as an ONNX model",
        )
    raise Refusal(
        Code.MODEL_UNRECOGNISED,
        "the file is neither an ONNX model nor a TorchScript archive",
        field=FIELD,
        expected=EXPECTED,
        got=f"{size} bytes that begin with {bytes(content[:8]).hex()}",
    )
