"""Hostile bundles in rare dialects of zip and tar, and in packings that are none of both."""

import gzip
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator

from bundle_files import WEIGHTS, extended, model, tarred, zipped

NET = ("net.onnx", model())
_WIDE = 0xFFFFFFFF
_END = b"PK\x05\x06"

File = tuple[str, bytes | Callable[[], bytes], bool]


def dialects() -> Iterator[File]:
    yield from _wide_zips()
    yield from _odd_zips()
    yield from _pax_headers()
    yield from _odd_tars()
    yield from _compressed()


def _wide_zips() -> Iterator[File]:
    """Archives whose directory has numbers of 64 bits."""
    whole = zipped(NET, ("weights", WEIGHTS))
    packed = zipped(NET, ("weights", WEIGHTS), method=zipfile.ZIP_DEFLATED)
    for what, offset in {
        "beyond-its-file": 1 << 62,
        "that-overflows": (1 << 64) - 8,
    }.items():
        extra = struct.pack("<HHQ", 1, 8, offset)
        yield (
            f"zip64-with-an-offset-{what}",
            _with_extra(whole, extra, {42: _WIDE}),
            True,
        )
    giant = struct.pack("<HHQQ", 1, 16, 1 << 62, 1 << 62)
    sizes = {20: _WIDE, 24: _WIDE}
    yield "zip64-with-a-size-that-lies", _with_extra(whole, giant, sizes), True
    grown = struct.pack("<HHQQ", 1, 16, 1 << 40, len(WEIGHTS))
    yield "zip64-bomb-by-its-size", _with_extra(packed, grown, sizes), True
    yield "zip64-with-a-field-cut-short", _with_extra(whole, b"\1\0\x08\0", sizes), True
    end = whole.rindex(_END)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 1 << 62, 1)
    yield "zip64-with-a-directory-that-lies", whole[:end] + locator + whole[end:], True
    numbers = (44, 45, 45, 0, 0, 1 << 40, 1 << 40, 1 << 50, 0)
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", *numbers)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    wide_end = whole[end : end + 8] + b"\xff" * 12 + whole[end + 20 :]
    yield (
        "zip64-with-a-directory-of-giant-length",
        whole[:end] + record + locator + wide_end,
        True,
    )


def _odd_zips() -> Iterator[File]:
    """Archives in which readers disagree about names, places or sizes."""
    whole = zipped(NET, ("weights", WEIGHTS))
    packed = zipped(NET, ("weights", WEIGHTS), method=zipfile.ZIP_DEFLATED)
    name = struct.pack("<BI", 1, zlib.crc32(b"weights")) + b"../../evil"
    extra = struct.pack("<HH", 0x7075, len(name)) + name
    # Neither the gate nor the engine looks at a second name.
    yield "zip-with-a-path-as-a-second-name", _with_extra(whole, extra, {}), False
    inner = zipped(NET)
    comment = whole[:-2] + struct.pack("<H", len(inner)) + inner
    yield "zip-with-another-in-its-comment", comment, True
    yield "zip-with-members-within-each-other-differ", _overlapping(), True
    yield "zip-with-a-length-too-little", _sized(packed, 8), True
    yield "zip-with-a-length-too-large", _sized(packed, 1 << 20), True
    yield "zip-with-a-strange-name", zipped(NET, ("\x1b[2J\x07", WEIGHTS)), True
    folders = "a/" * 30_000
    yield "zip-with-a-path-deeply-nested", zipped((f"{folders}net.onnx", model())), True
    upwards = (f"a/{NET[0]}", model("../../weights"))
    yield (
        "zip-with-a-path-out-of-its-folder",
        zipped(upwards, ("weights", WEIGHTS)),
        True,
    )


def _with_extra(whole: bytes, extra: bytes, numbers: dict[int, int]) -> bytes:
    """An archive whose last entry has an extra field, and other numbers at some offsets."""
    start = whole.rindex(b"PK\x01\x02")
    end = whole.rindex(_END)
    entry = bytearray(whole[start:end])
    struct.pack_into("<H", entry, 30, len(extra))
    for offset, number in numbers.items():
        struct.pack_into("<I", entry, offset, number)
    record = bytearray(whole[end:])
    (directory,) = struct.unpack_from("<I", record, 16)
    struct.pack_into("<I", record, 12, end + len(extra) - directory)
    return whole[:start] + bytes(entry) + extra + bytes(record)


def _overlapping() -> bytes:
    """An archive of which one file lies within another: it grows with each that does."""
    whole = zipped(NET, ("outer", b"?" * 30 + bytes(200)))
    content = whole.index(b"outer") + 5
    numbers = (20, 0, 0, 0, 33, 0, 150, 150, 5, 0)
    header = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", *numbers) + b"inner"
    whole = whole[:content] + header + whole[content + len(header) :]
    end = whole.rindex(_END)
    entry = bytearray(whole[whole.rindex(b"PK\x01\x02") : end]).replace(
        b"outer", b"inner"
    )
    struct.pack_into("<II", entry, 20, 150, 150)
    struct.pack_into("<I", entry, 42, content)
    record = bytearray(whole[end:])
    (size,) = struct.unpack_from("<I", record, 12)
    struct.pack_into("<HHI", record, 8, 3, 3, size + len(entry))
    return whole[:end] + bytes(entry) + bytes(record)


def _sized(whole: bytes, size: int) -> bytes:
    """An archive whose last entry states another size of its file."""
    start = whole.rindex(b"PK\x01\x02")
    return whole[: start + 24] + struct.pack("<I", size) + whole[start + 28 :]


def _pax_headers() -> Iterator[File]:
    for what, content in {
        "a-size-below-zero": _record(b"size", b"-512"),
        "a-size-in-other-digits-that-lies": _record(b"size", "\u0665".encode()),
        "a-sparse-file-as-text": _record(b"GNU.sparse.major", b"1"),
        "a-path-as-text": _record(b"path", b"../../evil"),
        "a-path-with-a-zero": _record(b"path", b"net.onnx\0/../../evil"),
        "an-empty-name-that-differs": _record(b"path", b""),
        "a-name-in-another-charset-that-differs": _record(b"path", b"\xff\xfe"),
        "a-length-beyond-its-header": b"99999 path=a\n",
        "a-length-of-nothing": b"0 path=a\n",
        "a-record-cut-short": b"8 path=a",
    }.items():
        yield f"tar-with-{what}", extended((tarfile.XHDTYPE, content)), True
    everywhere = (tarfile.XGLTYPE, _record(b"path", b"net.onnx"))
    yield "tar-with-one-name-of-all-members", extended(everywhere), True
    gnu = (tarfile.GNUTYPE_LONGNAME, b"net.onnx\0")
    pax = (tarfile.XHDTYPE, _record(b"path", b"../evil"))
    yield "tar-with-a-path-in-two-dialects", extended(gnu, pax), True


def _record(keyword: bytes, value: bytes) -> bytes:
    """A record of a pax header, which begins with its own length."""
    body = b" " + keyword + b"=" + value + b"\n"
    length = len(body) + 1
    length += len(str(length)) - 1
    return b"%d" % (len(body) + len(str(length))) + body


def _odd_tars() -> Iterator[File]:
    for what, size in {
        "below-zero": b"\xff" * 12,
        "that-overflows": b"\x80" + b"\xff" * 11,
    }.items():
        yield f"tar-with-a-binary-length-{what}", _header(size), True
    for kind in b"VMDNSA":
        entry = tarred(NET, ("weights", WEIGHTS), kind=bytes([kind]))
        yield f"tar-with-a-device-of-kind-{chr(kind)}", entry, True
    yield "tar-within-a-tar-before-a-model", tarred(("inner.tar", tarred(NET))), True
    whole = tarred(NET, ("weights", WEIGHTS))
    yield "tar-cut-short-in-a-header", whole[:2264], True


def _header(size: bytes) -> bytes:
    """An archive of one header with these bytes as its size."""
    block = bytearray(tarfile.TarInfo("net.onnx").tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


def _compressed() -> Iterator[File]:
    yield "gzip-bomb", lambda: gzip.compress(bytes(200 * 1024**2)), True
    yield "gzip-of-countless-members", gzip.compress(b"a") * 20_000, True
    yield (
        "gzip-with-a-name-of-giant-text",
        b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 10**6,
        True,
    )
    yield "gzip-before-a-tar", gzip.compress(tarred(NET, ("weights", WEIGHTS))), True
