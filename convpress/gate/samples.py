"""The arrays in a file of samples or of an evaluation, from its headers alone: .npy or .npz.

Nothing is unpickled, and nothing but the headers is inflated.

Source: NumPy's format specification (numpy.lib.format), versions 1 to 3.
"""

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from convpress import evaluation
from convpress.gate.zip_directory import ZIP_MAGIC, BoundedReads
from convpress.refusal import Code, Refusal

FIELD = "samples"
EXPECTED = (
    "samples along the first axis: .npz with one array per input (np.savez), or .npy of the only "
    "input"
)
LABELS, TARGETS = "labels", "targets"
"""The arrays of an evaluation beside those of the inputs; a file has one of them."""
LARGEST_BYTES = 512 * 1024**2
"""The size of all arrays together."""

SUFFIX = ".npy"
_MOST_ARRAYS = 64
_NPY_MAGIC = b"\x93NUMPY"
# The magic, and the two numbers of the version.
_PREAMBLE_BYTES = 8
_LONGEST_HEADER = 4096
# NumPy evaluates the header as Python: only the exact form that it writes is accepted here.
_HEADER = re.compile(
    r"\{'descr': '([<>|=][A-Za-z][0-9]{0,3})', 'fortran_order': (?:True|False), "
    r"'shape': \(((?:[0-9]{1,12}, ?)*[0-9]{0,12})\),? ?\} *\n"
)
_NUMBERS = re.compile(r"[<>|=](b1|[iu][1248]|f[248])")
_LONGEST_FILE_NAME = 1000
_STORED = 0
_DEFLATED = 8
_ENCRYPTED = 1

_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    struct.error,
)


@dataclass(frozen=True)
class ArrayFile:
    """A kind of file of arrays: its form field, and the words of its refusals."""

    field: str
    code: Code
    noun: str
    expected: str

    def invalid(self, detail: str, expected: str, got: str) -> Refusal:
        """Return the refusal of a file of this kind."""
        return Refusal(
            self.code, detail, field=self.field, expected=expected, got=got[:300]
        )


SAMPLES = ArrayFile(FIELD, Code.SAMPLES_INVALID, "samples", EXPECTED)
EVALUATION = ArrayFile(
    evaluation.FIELD,
    Code.EVALUATION_INVALID,
    "arrays of the evaluation",
    evaluation.EXPECTED,
)


@dataclass(frozen=True)
class Header:
    """An array as its header declares it: NumPy's name of its type, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """The size of the array in bytes."""
        item_bytes = int(self.dtype[2:])
        return item_bytes * math.prod(self.shape)


def check(path: Path) -> None:
    """Check that a file may be opened as samples.

    Raises:
        Refusal: `samples_invalid`.
    """
    headers(path)


def evaluation_headers(path: Path, metric: str) -> Mapping[str, Header]:
    """Return the arrays of an evaluation by name.

    Raises:
        Refusal: `evaluation_invalid`, also for a file without the labels or targets that the metric
            needs, or with both.
    """
    arrays = headers(path, EVALUATION)
    truths = [name for name in (LABELS, TARGETS) if name in arrays]
    if len(truths) != 1:
        names = ", ".join(name or "one array without a name" for name in arrays)
        detail = f"the file has neither {LABELS} nor {TARGETS}"
        if truths:
            detail = f"the file has both {LABELS} and {TARGETS}"
        raise EVALUATION.invalid(detail, EVALUATION.expected, names)
    needed = LABELS if metric == evaluation.DEFAULT else TARGETS
    if needed not in arrays:
        raise Refusal(
            Code.EVALUATION_INVALID,
            f"the metric {metric} needs {needed}, and the file has {truths[0]}",
            field=evaluation.METRIC,
            expected="top-1 for labels; psnr, mse or mean-iou for targets",
            got=metric,
        )
    return arrays


def headers(path: Path, kind: ArrayFile = SAMPLES) -> Mapping[str, Header]:
    """Return the arrays of a file by name; the name is empty in a file of one array.

    Raises:
        Refusal: the kind's code for other files, for arrays of anything but numbers, and where a
            file is shorter or longer than its arrays, or these take more than `LARGEST_BYTES`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(len(_NPY_MAGIC))
        file.seek(0)
        if magic == _NPY_MAGIC:
            arrays = {"": _header(file, size, "the file", kind)}
        elif magic.startswith(ZIP_MAGIC):
            arrays = _members(path, kind)
        else:
            shown = f"{size} bytes that begin with {magic.hex()}" if size else "0 bytes"
            detail = "the file is neither .npy nor .npz"
            if _is_name(file.read(_LONGEST_FILE_NAME + 1)):
                detail = (
                    "the name of a file came in place of its content: with curl, "
                    f"-F {kind.field}=@{kind.field}.npz"
                )
            raise kind.invalid(detail, kind.expected, shown)
    # Compressed arrays must not grow without bounds.
    total = sum(header.bytes for header in arrays.values())
    if total > LARGEST_BYTES:
        raise kind.invalid(
            f"the {kind.noun} are larger than the service reads",
            f"at most {LARGEST_BYTES} bytes",
            f"{total}",
        )
    return arrays


def _is_name(content: bytes) -> bool:
    """Tell whether bytes are one line that ends as the name of a file of samples does."""
    line = content.strip().lower()
    is_line = len(content) <= _LONGEST_FILE_NAME and b"\n" not in line
    return is_line and line.endswith((b".npz", b".npy"))


def invalid(detail: str, expected: str, got: str) -> Refusal:
    """Return the refusal of a file of samples."""
    return SAMPLES.invalid(detail, expected, got)


def _members(path: Path, kind: ArrayFile) -> dict[str, Header]:
    try:
        return _read_members(path, kind)
    except Refusal:
        # A Refusal is a ValueError too.
        raise
    except _UNREADABLE as error:
        got = f"{path.stat().st_size} bytes"
        raise kind.invalid(
            f"the archive is damaged: {error}", kind.expected, got
        ) from error


def _read_members(path: Path, kind: ArrayFile) -> dict[str, Header]:
    arrays: dict[str, Header] = {}
    with BoundedReads(path) as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if not 0 < len(members) <= _MOST_ARRAYS:
            raise kind.invalid(
                "the archive has no arrays, or too many",
                f"1 to {_MOST_ARRAYS}",
                str(len(members)),
            )
        for info in members:
            name = info.filename.removesuffix(SUFFIX)
            shown = f"member {info.filename[:80]!r}"
            _require_array(info, shown, kind)
            if name in arrays:
                raise kind.invalid(
                    f"{shown} is there twice", "one array per name", info.filename
                )
            with archive.open(info) as member:
                arrays[name] = _header(member, info.file_size, shown, kind)
    return arrays


def _require_array(info: zipfile.ZipInfo, shown: str, kind: ArrayFile) -> None:
    """Require that a member is called as an array, and is stored in a usual way."""
    name = info.filename.removesuffix(SUFFIX)
    if name == info.filename or not name:
        raise kind.invalid(
            f"{shown} is no array", f"names that end with {SUFFIX}", info.filename
        )
    is_encrypted = info.flag_bits & _ENCRYPTED
    if is_encrypted or info.compress_type not in (_STORED, _DEFLATED):
        detail = f"{shown} is encrypted, or compressed by an unusual method"
        raise kind.invalid(detail, kind.expected, info.filename)


def _header(file: IO[bytes], size: int, what: str, kind: ArrayFile) -> Header:
    """Read the header of an array that has `size` bytes with its header."""
    preamble = file.read(_PREAMBLE_BYTES)
    version = preamble[6:7]
    # From version 2 on the length of the header is a longer number.
    length_size = 4 if version in (b"\x02", b"\x03") else 2
    length_bytes = file.read(length_size)
    is_npy = preamble[:6] == _NPY_MAGIC and version in (b"\x01", b"\x02", b"\x03")
    if not is_npy or len(length_bytes) != length_size:
        raise kind.invalid(
            f"{what} is no array of NumPy's", kind.expected, preamble.hex()
        )
    length = int.from_bytes(length_bytes, "little")
    text = file.read(min(length, _LONGEST_HEADER)).decode("latin-1")
    match = _HEADER.fullmatch(text)
    if match is None:
        raise kind.invalid(
            f"{what} has a header that does not declare numbers and a shape",
            "an array of numbers",
            text[:80],
        )
    dtype, sizes = match.groups()
    if not _NUMBERS.fullmatch(dtype):
        is_object = dtype[1] == "O"
        content = (
            "Python objects, which are pickled"
            if is_object
            else "values that are no numbers"
        )
        raise kind.invalid(
            f"{what} holds {content}",
            "floating-point or whole numbers, or booleans",
            dtype,
        )
    shape = tuple(int(part) for part in sizes.split(",") if part.strip())
    header = Header(dtype, shape)
    declared = _PREAMBLE_BYTES + length_size + length + header.bytes
    if declared != size:
        raise kind.invalid(
            f"{what} is not as long as its header says",
            f"{declared} bytes",
            f"{size} bytes",
        )
    return header
