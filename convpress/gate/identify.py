"""The format of a model, from its container alone: nothing is loaded, unpickled or run."""

import io
import mmap
import struct
import zipfile
from pathlib import Path
from typing import Literal

from convpress.gate import bundle, protobuf
from convpress.gate.refusals import FIELD as FIELD
from convpress.refusal import Code, Refusal

Format = Literal["onnx", "torchscript"]

EXPECTED = (
    "an ONNX model (.onnx, or a zip or tar archive of it and the files with its weights) or a "
    "TorchScript archive (torch.jit.save)"
)

_EXPORT_INSTEAD = (
    "it is a Python pickle (a state_dict or a whole nn.Module saved by torch.save), which has no "
    "network that can be opened safely; export it with torch.jit.trace(model, example).save(...) "
    "or torch.onnx.export instead"
)
# Fields of a ModelProto itself: opsets, metadata, local functions.
_MOST_FIELDS = 100_000
# In bytes, of a zip archive: some 40,000 members.
_LARGEST_DIRECTORY = 4 * 1024**2
ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"
# The tag of a ModelProto's first field, ir_version, as all exporters write it.
_IR_VERSION_TAG = b"\x08"
_NO_FIELD = 0
_IR_VERSION = 1
_GRAPH = 7
# ir_version, producer_name, producer_version, domain, model_version, doc_string, graph,
# opset_import, metadata_props, training_info, functions, configuration
_MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})


def identify(path: Path) -> Format:
    """Return the format of the model at `path`.

    Raises:
        Refusal: `model_empty`, `model_truncated`, `model_pickled` or `model_unrecognised`.
    """
    size = path.stat().st_size
    # An empty file cannot be mapped.
    if size == 0:
        raise _refusal(Code.MODEL_EMPTY, "the file is empty", "0 bytes")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] == ZIP_MAGIC:
            return _identify_archive(path)
        if content[:1] == _PICKLE_MAGIC:
            raise _refusal(Code.MODEL_PICKLED, _EXPORT_INSTEAD, "a pickle")
        if bundle.kind_of(path) == "tar":
            bundle.read(path)
            return "onnx"
        with memoryview(content) as view:
            return _identify_message(view, size)


class BoundedReads(io.FileIO):
    """A file whose reads return at most 4 MiB, and refuse to return more.

    zipfile reads the whole directory at once, and keeps an object for every member in it.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, or at most 4 MiB where no size is given.

        Raises:
            BadZipFile: a larger size.
        """
        if size is None or size < 0:
            return super().read(_LARGEST_DIRECTORY)
        if size > _LARGEST_DIRECTORY:
            raise zipfile.BadZipFile(
                f"a directory of {size} bytes, above the limit of {_LARGEST_DIRECTORY}"
            )
        return super().read(size)


def read_directory(path: Path) -> tuple[list[zipfile.ZipInfo], int]:
    """Return the members of the zip archive at `path`, and the offset of its directory.

    Raises:
        Refusal: `model_truncated` where it has no readable directory.
    """
    try:
        with BoundedReads(path) as file, zipfile.ZipFile(file) as archive:
            return archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise _refusal(
            Code.MODEL_TRUNCATED,
            f"the zip archive has no readable directory at its end ({error}); was the upload cut "
            "short?",
            f"{path.stat().st_size} bytes that begin as a zip archive",
        ) from error


def _identify_archive(path: Path) -> Format:
    infos, _ = read_directory(path)
    names = [info.filename for info in infos]
    # A TorchScript archive has all its members in one folder.
    members = {name.partition("/")[2] for name in names}
    has_code = any(member.startswith("code/") for member in members)
    if "constants.pkl" in members and "data.pkl" in members and has_code:
        return "torchscript"
    if "data.pkl" in members:
        raise _refusal(Code.MODEL_PICKLED, _EXPORT_INSTEAD, "a pickle archive")
    if any(name.endswith(bundle.SUFFIX) for name in names):
        bundle.read(path)
        return "onnx"
    shown = ", ".join(sorted(names)[:3])[:200]
    raise _refusal(
        Code.MODEL_UNRECOGNISED,
        "the zip archive is no TorchScript archive, which has code/, data.pkl and constants.pkl, "
        "and no bundle of an ONNX model, which has an .onnx file",
        f"a zip archive with {shown or 'no members'}",
    )


def _identify_message(content: memoryview, size: int) -> Format:
    """Require that a file is a ModelProto: known top-level fields, and nothing after them."""
    numbers: set[int] = set()
    problem = None
    try:
        for count, field in enumerate(protobuf.fields(content, 0, size)):
            is_bounded = count < _MOST_FIELDS
            numbers.add(field.number if is_bounded else _NO_FIELD)
            if not numbers <= _MODEL_FIELDS:
                break
    except protobuf.MalformedMessage as error:
        problem = str(error)
    is_known = numbers <= _MODEL_FIELDS
    if is_known and problem is None and _GRAPH in numbers:
        return "onnx"
    begins_as_model = _IR_VERSION in numbers and bytes(content[:1]) == _IR_VERSION_TAG
    if is_known and problem and begins_as_model:
        raise _refusal(
            Code.MODEL_TRUNCATED,
            f"the ONNX file is cut short or damaged: {problem}",
            f"{size} bytes that begin as an ONNX model",
        )
    raise _refusal(
        Code.MODEL_UNRECOGNISED,
        "the file is neither an ONNX model nor a TorchScript archive",
        f"{size} bytes that begin with {bytes(content[:8]).hex()}",
    )


def _refusal(code: Code, detail: str, got: str) -> Refusal:
    return Refusal(code, detail, field=FIELD, expected=EXPECTED, got=got)
