"""What a file of samples holds, told from its headers alone: NumPy's .npy, or .npz with an array an input.

Nothing is unpickled, and no more is inflated than the headers.

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

from convpress.gate.zip_directory import ZIP_MAGIC, BoundedReads
from convpress.refusal import Code, Refusal

FIELD = "samples"
EXPECTED = "samples along the first axis: .npz with an array an input (np.savez), or .npy of the only input"
LARGEST_BYTES = 512 * 1024**2
"""What all arrays take together; a file that is larger than its arrays is none of ours."""

SUFFIX = ".npy"
_MOST_ARRAYS = 64
_NPY_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 4096
_HEADER = re.compile(
    r"\{'descr': '([<>|=][A-Za-z][0-9]{0,3})', 'fortran_order': (?:True|False), "
    r"'shape': \(((?:[0-9]{1,12}, ?)*[0-9]{0,12})\),? ?\} *\n"
)
_NUMBERS = re.compile(r"[<>|=](b1|[iu][1248]|f[248])")
_STORED, _DEFLATED, _ENCRYPTED = 0, 8, 1


@dataclass(frozen=True)
class Header:
    """An array as its header declares it: NumPy's name of its type, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """How much the array takes."""
        return int(self.dtype[2:]) * math.prod(self.shape)


def check(path: Path) -> None:
    """Check that a file may be opened as samples.

    Raises:
        Refusal: `samples_invalid`.
    """
    headers(path)


def headers(path: Path) -> Mapping[str, Header]:
    """Return the arrays of a file by name; the name is empty in a file of one array.

    Raises:
        Refusal: `samples_invalid` for what is no such file, for arrays of other things than numbers, and where files
            are shorter or longer than their arrays, or these take more than `LARGEST_BYTES` together.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(len(_NPY_MAGIC))
        file.seek(0)
        if magic == _NPY_MAGIC:
            found = {"": _header(file, size, "the file")}
        elif magic.startswith(ZIP_MAGIC):
            found = _members(path)
        else:
            shown = f"{size} bytes that begin with {magic.hex()}" if size else "0 bytes"
            raise invalid("the file is neither .npy nor .npz", EXPECTED, shown)
    total = sum(header.bytes for header in found.values())
    if total > LARGEST_BYTES:
        raise invalid(
            "the samples take more than this service reads",
            f"at most {LARGEST_BYTES} bytes",
            f"{total}",
        )
    return found


def invalid(detail: str, expected: str, got: str) -> Refusal:
    """Return the refusal of a file of samples."""
    return Refusal(Code.SAMPLES_INVALID, detail, field=FIELD, expected=expected, got=got[:300])


def _members(path: Path) -> dict[str, Header]:
    found: dict[str, Header] = {}
    try:
        with BoundedReads(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if not 0 < len(members) <= _MOST_ARRAYS:
                raise invalid(
                    "the archive has no arrays, or too many",
                    f"1 to {_MOST_ARRAYS}",
                    str(len(members)),
                )
            for info in members:
                name = info.filename.removesuffix(SUFFIX)
                shown = f"member {info.filename[:80]!r}"
                if name == info.filename or not name:
                    raise invalid(
                        f"{shown} is no array", f"names that end with {SUFFIX}", info.filename
                    )
                if name in found:
                    raise invalid(
                        f"{shown} is there twice", "one array of each name", info.filename
                    )
                if info.flag_bits & _ENCRYPTED or info.compress_type not in (_STORED, _DEFLATED):
                    raise invalid(
                        f"{shown} is encrypted or compressed in a way of its own",
                        EXPECTED,
                        info.filename,
                    )
                with archive.open(info) as member:
                    found[name] = _header(member, info.file_size, shown)
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        ValueError,
        NotImplementedError,
        struct.error,
    ) as error:
        if isinstance(error, Refusal):
            raise
        raise invalid(
            f"the archive is damaged: {error}", EXPECTED, f"{path.stat().st_size} bytes"
        ) from error
    return found


def _header(file: IO[bytes], size: int, what: str) -> Header:
    """Read the header of an array that takes `size` bytes with it."""
    begin = file.read(8)
    wide = begin[6:7] in (b"\x02", b"\x03")
    length_bytes = file.read(4 if wide else 2)
    if (
        begin[:6] != _NPY_MAGIC
        or begin[6:7] not in (b"\x01", b"\x02", b"\x03")
        or len(length_bytes) != 2 + 2 * wide
    ):
        raise invalid(f"{what} is no array of NumPy's", EXPECTED, begin.hex())
    length = int.from_bytes(length_bytes, "little")
    text = file.read(min(length, _LONGEST_HEADER)).decode("latin-1")
    match = _HEADER.fullmatch(text)
    if not match:
        raise invalid(
            f"{what} has a header that does not name numbers and a shape",
            "an array of numbers",
            text[:80],
        )
    dtype, sizes = match.groups()
    if not _NUMBERS.fullmatch(dtype):
        kind = (
            "Python objects, which are pickled" if dtype[1] == "O" else "what are no real numbers"
        )
        raise invalid(f"{what} holds {kind}", "floating-point or whole numbers, or booleans", dtype)
    header = Header(dtype, tuple(int(part) for part in sizes.split(",") if part.strip()))
    taken = 8 + len(length_bytes) + length + header.bytes
    if taken != size:
        raise invalid(f"{what} is not as long as it says", f"{taken} bytes", f"{size} bytes")
    return header
