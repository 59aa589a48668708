"""Tar archives of all writers are read as tarfile reads them; hostile headers end in few steps."""

import io
import tarfile
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convpress.gate import tar_headers
from convpress.gate.tar_headers import MalformedTar, TarTooLarge

LONG = "weights/" + "x" * 140 + "/layer"
FILES = {
    "net.onnx": b"abc",
    "weights/w": bytes(700),
    LONG: b"1",
    "modèle/模型": b"",
    "last": b"z",
}
FORMATS = {
    "ustar": tarfile.USTAR_FORMAT,
    "gnu": tarfile.GNU_FORMAT,
    "pax": tarfile.PAX_FORMAT,
}


def header(name, kind=tarfile.REGTYPE, size=0):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT)


def extension(kind, content):
    return (
        header("extension", kind, len(content)) + content + bytes(-len(content) % 512)
    )


def pax(*records):
    return extension(tarfile.XHDTYPE, b"".join(records))


def record(keyword, value):
    body = b" " + keyword + b"=" + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length += 1
    return str(length).encode() + body


def archive(*blocks):
    return b"".join(blocks) + bytes(1024)


def read(content):
    return list(tar_headers.members(io.BytesIO(content)))


@pytest.mark.parametrize("name", FORMATS)
def test_members_are_where_tarfile_writes_them(name):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=FORMATS[name]) as writer:
        folder = tarfile.TarInfo("weights")
        folder.type = tarfile.DIRTYPE
        writer.addfile(folder)
        for path, content in FILES.items():
            info = tarfile.TarInfo(path)
            info.size, info.mtime = len(content), 1.5
            writer.addfile(info, io.BytesIO(content))
    whole = buffer.getvalue()
    first, *files = read(whole)
    assert (first.name, first.is_folder, first.is_file) == ("weights/", True, False)
    assert all(member.is_file for member in files)
    assert {m.name: whole[m.start : m.start + m.size] for m in files} == FILES


def test_a_size_above_8_gib_is_read_in_binary_and_as_a_record():
    size = 1 << 36
    info = tarfile.TarInfo("w")
    info.size = size
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with pytest.raises(
            MalformedTar, match=f"of {size} bytes ends after the archive"
        ):
            read(archive(info.tobuf(form)))


def test_notes_on_the_whole_archive_are_passed_over():
    notes = extension(tarfile.XGLTYPE, record(b"comment", b"0" * 40))
    assert [member.name for member in read(archive(notes, header("net.onnx")))] == [
        "net.onnx"
    ]


def test_an_archive_without_its_padding_is_whole():
    assert [member.size for member in read(header("w", size=3) + b"abc")] == [3]


LIES = {
    "a chain of pax headers": [pax(record(b"a", b"b"))] * 2000 + [header("w")],
    "a chain of notes": [extension(b"g", record(b"a", b"b"))] * 2 + [header("w")],
    "a chain of long names": [extension(b"L", b"n\0")] * 2 + [header("w")],
    "digits": [pax(b"1" * 10_000), header("w")],
    "digits and a space": [pax(b"1" * 100 + b" a=b\n"), header("w")],
    "a record of no length": [pax(b"0 a=b\n"), header("w")],
    "a record that is too short": [pax(b"2 a=b\n"), header("w")],
    "a record beyond the header": [pax(b"999 a=b\n"), header("w")],
    "a size of countless digits": [pax(record(b"size", b"9" * 5000)), header("w")],
    "a negative size": [pax(record(b"size", b"-512")), header("w")],
    "a size that is none": [pax(record(b"size", b"x")), header("w")],
    "a name of all members": [extension(b"g", record(b"path", b"x")), header("w")],
    "a size of all members": [extension(b"g", record(b"size", b"0")), header("w")],
    "an extension of nothing": [pax(record(b"path", b"x"))],
    "a name that is no text": [extension(b"L", b"\xff\xfe\0"), header("w")],
    "a checksum that lies": [header("w").replace(b"w", b"v", 1)],
    "a size in letters": [b"w".ljust(100, b"\0") + b"z" * 412],
    "half a header": [header("w")[:300]],
}


@pytest.mark.parametrize("blocks", LIES.values(), ids=LIES)
def test_what_no_writer_writes_is_refused(blocks):
    content = b"".join(blocks)
    if len(content) % 512 == 0:
        content += bytes(1024)
    with pytest.raises((MalformedTar, TarTooLarge)) as refusal:
        read(content)
    assert len(str(refusal.value)) < 200


def test_sparse_files_and_links_are_no_plain_files():
    blocks = [
        pax(record(b"GNU.sparse.size", b"9")) + header("w"),
        *(header("w", kind) for kind in (b"S", b"1", b"2", b"3", b"6", b"Z")),
    ]
    for block in blocks:
        (member,) = read(archive(block))
        assert not member.is_file
        assert not member.is_folder


class Endless(io.RawIOBase):
    """A tar archive of one block that repeats, as long as the reader goes on."""

    def __init__(self, block, size):
        self.block, self.size, self.position, self.read_bytes = block, size, 0, 0

    def seek(self, offset, whence=io.SEEK_SET):
        self.position = self.size if whence == io.SEEK_END else offset
        return self.position

    def read(self, size=-1):
        start = self.position % len(self.block)
        self.position += size
        self.read_bytes += size
        repeats = -(-size // len(self.block)) + 1
        return (self.block * repeats)[start : start + size]


ENDLESS = {
    "folders": header("sub", tarfile.DIRTYPE),
    "empty files": header("w"),
    "notes": extension(b"g", record(b"comment", b"x" * 15_000)) + header("w"),
    "long names": extension(b"L", b"x" * 15_000) + header("w"),
    "pax headers": pax(record(b"comment", b"x" * 15_000)) + header("w"),
    "records": pax(*[record(b"a", b"b")] * 2000) + header("w"),
}


@pytest.mark.parametrize("block", ENDLESS.values(), ids=ENDLESS)
def test_an_archive_without_end_takes_bounded_reads_time_and_memory(block):
    file = Endless(block, 1 << 40)
    started = time.process_time()
    with pytest.raises(TarTooLarge):
        for _ in tar_headers.members(file):
            pass
    assert file.read_bytes < 40 * 1024**2
    assert time.process_time() - started < 10


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_a_long_header_is_refused_before_it_is_read(kind):
    content = extension(kind, b"a" * 20_000_000)
    tracemalloc.start()
    with pytest.raises(TarTooLarge, match="20000000 bytes, above the limit of 16384"):
        read(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The file itself is in memory twice: once here, once as a stream.
    assert peak < 21_000_000


@given(st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), max_size=6))
def test_any_damage_is_survived(damage):
    whole = bytearray(
        archive(
            pax(record(b"path", b"net.onnx")),
            header("x", size=5),
            b"abcde".ljust(512, b"\0"),
        )
    )
    for offset, byte in damage:
        whole[offset % len(whole)] = byte
    try:
        members = read(bytes(whole))
    except (MalformedTar, TarTooLarge):
        return
    assert all(member.start + member.size <= len(whole) for member in members)
