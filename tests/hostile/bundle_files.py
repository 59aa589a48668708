"""Hostile bundles: archives of an ONNX model and the files with its weights."""

import io
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from operator import mul
from pathlib import Path

from onnx import TensorProto
from onnx_files import onnx_model

WEIGHTS = bytes(36 * 4)


def model(location: str = "weights", **entries: str) -> bytes:
    """A model whose weights lie in another file."""
    proto = onnx_model()
    weight = proto.graph.initializer[0]
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        weight.external_data.add(key=key, value=value)
    return proto.SerializeToString()


def zipped(
    *members: tuple[str, bytes], mode: int = 0o100644, method: int = zipfile.ZIP_STORED
) -> bytes:
    """A zip archive of members, of which the last has this mode and compression."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a name that is there already
        for number, (name, content) in enumerate(members, 1):
            info = zipfile.ZipInfo(name)
            if number == len(members):
                info.external_attr = mode << 16
                info.compress_type = method
            archive.writestr(info, content)
    return buffer.getvalue()


def tarred(
    *members: tuple[str, bytes],
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
    claims: int = 0,
) -> bytes:
    """A tar archive of members, of which the last is of this kind, and claims to be so much longer
    than it is.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for number, (name, content) in enumerate(members, 1):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if number < len(members):
                archive.addfile(info, io.BytesIO(content))
                continue
            info.type = kind
            info.linkname = link
            info.size = len(content) + claims
            archive.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
            archive.fileobj.write(content + bytes(-len(content) % 512))
    return buffer.getvalue()


def extended(*headers: tuple[bytes, bytes]) -> bytes:
    """A tar archive of an empty model behind extension headers, each of a kind and with a text."""
    blocks = []
    for kind, content in headers:
        info = tarfile.TarInfo("header")
        info.type, info.size = kind, len(content)
        blocks.append(
            info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)
        )
    blocks.append(tarfile.TarInfo("net.onnx").tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
    return b"".join(blocks)


def listed(*, extra: bytes = b"", comment: bytes = b"", entries: int = 1) -> bytes:
    """A zip archive of a model, whose directory has this many more entries that share its place."""
    whole = zipped(("net.onnx", model()))
    start = whole.rindex(b"PK\x01\x02")
    directory = whole[start : whole.rindex(b"PK\x05\x06")]
    lengths = struct.pack("<HH", len(extra), len(comment))
    entry = directory[:30] + lengths + directory[34:] + extra + comment
    added = b"".join(
        entry.replace(b"net.onnx", f"{number:08}".encode(), 1)
        for number in range(entries)
    )
    size = len(directory) + len(added)
    end = struct.pack(
        "<4sHHHHIIH", b"PK\x05\x06", 0, 0, entries + 1, entries + 1, size, start, 0
    )
    return whole[:start] + directory + added + end


def headers_without_end() -> Iterator[tuple[str, bytes | Callable[[], bytes], bool]]:
    """Archives whose headers take time or memory, before a member is reached."""
    note = b"12 a=bcdefg\n"
    for what, headers in {
        "a-header-of-endless-digits": [(tarfile.XHDTYPE, b"1" * 80_000)],
        "a-short-header-of-endless-digits": [(tarfile.XHDTYPE, b"1" * 16_000)],
        "an-endless-chain-of-headers": [(tarfile.XHDTYPE, note)] * 2000,
        "an-endless-chain-of-names": [(tarfile.GNUTYPE_LONGNAME, b"a\0")] * 2000,
        "an-endless-chain-of-notes": [(tarfile.XGLTYPE, note)] * 2000,
        "a-giant-text-as-a-name": [(tarfile.GNUTYPE_LONGNAME, b"a" * 5_000_000)],
        "a-giant-text-as-a-link": [(tarfile.GNUTYPE_LONGLINK, b"a" * 5_000_000)],
        "a-giant-text-as-a-note": [
            (tarfile.XHDTYPE, b"5000000 comment=" + b"a" * 5_000_000)
        ],
        "a-size-that-lies-in-a-record": [(tarfile.XHDTYPE, b"21 size=999999999999\n")],
    }.items():
        yield f"tar-with-{what}", partial(extended, *headers), True
    folder = tarfile.TarInfo("sub")
    folder.type = tarfile.DIRTYPE
    block = folder.tobuf(tarfile.USTAR_FORMAT)
    yield "tar-of-countless-members", partial(mul, block, 46_000), True
    extra = b"\x99\x99\0\0" * 16_000
    yield "zip-with-endless-extra-data", partial(listed, extra=extra, entries=60), True
    comment = b"a" * 65_000
    yield (
        "zip-with-giant-text-as-comments",
        partial(listed, comment=comment, entries=400),
        True,
    )
    yield "zip-of-countless-members", partial(listed, entries=65_000), True
    yield "zip-bomb-of-one-file-under-many-names", partial(listed, entries=1000), True


def bundles(outside: Path) -> Iterator[tuple[str, bytes | Callable[[], bytes], bool]]:
    secret = str(outside / "secret")
    net = ("net.onnx", model())
    for what, name in {
        "a-path-upwards": "../../../../tmp/evil",
        "an-absolute-path": str(outside / "written"),
    }.items():
        yield f"zip-with-{what}", zipped(net, (name, WEIGHTS)), True
        yield f"tar-with-{what}", tarred(net, (name, WEIGHTS)), True
    yield (
        "zip-with-a-path-that-goes-back",
        zipped(net, ("weights", WEIGHTS), ("a\\..\\..\\evil", b"")),
        True,
    )
    yield (
        "zip-with-a-symbolic-link",
        zipped(net, ("weights", WEIGHTS), mode=0o120777),
        True,
    )
    for what, kind in {
        "a-symbolic-link": tarfile.SYMTYPE,
        "a-hard-link": tarfile.LNKTYPE,
        "a-device": tarfile.CHRTYPE,
        "a-pipe": tarfile.FIFOTYPE,
    }.items():
        yield (
            f"tar-with-{what}",
            tarred(net, ("weights", b""), kind=kind, link=secret),
            True,
        )
    folder = ("sub", b"")
    yield (
        "tar-with-a-linked-folder",
        tarred(net, folder, kind=tarfile.SYMTYPE, link=str(outside)),
        True,
    )
    yield (
        "tar-that-lies-about-a-size",
        tarred(net, ("weights", WEIGHTS), claims=1 << 33),
        True,
    )
    yield (
        "tar-with-a-sparse-file",
        tarred(net, ("weights", WEIGHTS), kind=tarfile.GNUTYPE_SPARSE),
        True,
    )
    yield "tar-cut-short", tarred(net, ("weights", WEIGHTS))[:1600], True
    yield (
        "tar-with-a-member-twice",
        tarred(net, ("weights", WEIGHTS), ("weights", WEIGHTS)),
        True,
    )
    yield (
        "zip-with-a-member-twice",
        zipped(net, ("weights", WEIGHTS), ("./weights", WEIGHTS)),
        True,
    )
    yield "zip-of-two-models", zipped(net, ("other.onnx", model())), True
    yield "zip-of-no-model", zipped(("weights", WEIGHTS)), True
    deflated = zipfile.ZIP_DEFLATED
    yield (
        "zip-bomb-of-weights",
        lambda: zipped(net, ("weights", bytes(64 * 1024**2)), method=deflated),
        True,
    )
    text = b"\x08\x08\x12" + b"\xff\xff\xff\x7f"
    yield (
        "zip-bomb-of-a-model",
        lambda: zipped(("net.onnx", text + b"ab" * 80_000_000), method=deflated),
        True,
    )
    yield (
        "zip-of-countless-files",
        lambda: zipped(net, *((f"{number}", b"") for number in range(21_000))),
        True,
    )
    whole = zipped(net, ("weights", WEIGHTS))
    entry = whole.rindex(b"PK\x01\x02")
    yield (
        "zip-with-an-encrypted-file",
        whole[: entry + 8] + b"\x01" + whole[entry + 9 :],
        True,
    )
    yield (
        "zip-with-an-offset-that-lies",
        whole[: entry + 42] + struct.pack("<I", 7) + whole[entry + 46 :],
        True,
    )
    packed = zipped(net, ("weights", WEIGHTS), method=deflated)
    entry = packed.rindex(b"PK\x01\x02")
    for what, offset in {
        "before-its-beginning": 0xFFFFFFF0,
        "at-another-member": 7,
    }.items():
        lying = packed[: entry + 42] + struct.pack("<I", offset) + packed[entry + 46 :]
        yield f"zip-with-an-offset-{what}", lying, True
    named = zipped(("weights", WEIGHTS), ("n\u00e9t.onnx", model()), method=deflated)
    yield (
        "zip-with-a-name-that-is-no-text",
        named.replace("\u00e9".encode(), b"\xff\xff", 1),
        True,
    )
    yield (
        "zip-of-a-strange-method",
        zipped(net, ("weights", WEIGHTS), method=zipfile.ZIP_LZMA),
        True,
    )
    entry = whole.rindex(b"PK\x01\x02")
    yield "zip-with-a-size-that-lies", _sized(whole, entry, 1 << 30), True
    for what, entries in {
        "beyond-their-file": {"offset": "4"},
        "at-a-negative-offset": {"offset": "-4"},
        "of-a-giant-length": {"length": str(1 << 60)},
        "of-a-length-that-overflows": {"offset": str((1 << 64) - 4), "length": "144"},
        "in-the-model-itself": {"location": "net.onnx"},
        "in-a-path-upwards": {"location": "../../secret"},
        "in-an-absolute-path": {"location": secret},
        "with-another-key": {"basepath": str(outside)},
    }.items():
        yield (
            f"weights-{what}",
            zipped(("net.onnx", model(**entries)), ("weights", WEIGHTS)),
            what != "in-the-model-itself",
        )
    yield "zip-behind-a-program", b"\x7fELF" + bytes(60) + whole, True
    yield "zip-before-a-program", whole + b"\n#!/bin/sh\ntrue\n", True
    yield from headers_without_end()


def _sized(whole: bytes, entry: int, size: int) -> bytes:
    return whole[: entry + 20] + struct.pack("<II", size, size) + whole[entry + 28 :]
