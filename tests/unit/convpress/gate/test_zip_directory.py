"""Directories of zip archives are read within bounds of entries, bytes and time."""

import io
import struct
import time
import zipfile

import pytest

from convpress.gate.zip_directory import BoundedReads, DirectoryTooLarge, read_directory
from convpress.refusal import Refusal

ENTRY = b"PK\x01\x02"
END = b"PK\x05\x06"


def directory(path, *, name=b"", extra=b"", comment=b"", entries=1):
    """An archive of nothing but a directory, which states entries without members."""
    entry = struct.pack("<4s24xHHH12x", ENTRY, len(name), len(extra), len(comment))
    listed = (entry + name + extra + comment) * entries
    stated = min(entries, 0xFFFF)
    end = struct.pack("<4sHHHHIIH", END, 0, 0, stated, stated, len(listed), 0, 0)
    path.write_bytes(listed + end)
    return path


HOSTILE = {
    "countless entries": {"entries": 80_000},
    "65535 entries": {"entries": 65_535},
    "extra data of countless parts": {"extra": b"\x99\x99\0\0" * 16_000, "entries": 60},
    "extra data": {"extra": bytes(5000)},
    "long comments": {"comment": bytes(65_000), "entries": 100},
    "a long directory": {"name": b"x" * 1000, "entries": 5000},
}


@pytest.mark.parametrize("parts", HOSTILE.values(), ids=HOSTILE)
def test_a_directory_of_too_much_is_refused_at_once(tmp_path, parts):
    path = directory(tmp_path / "m.zip", **parts)
    started = time.process_time()
    with pytest.raises(Refusal) as refusal:
        read_directory(path)
    assert refusal.value.code == "model_over_limit"
    assert refusal.value.got.startswith("a zip archive of ")
    assert time.process_time() - started < 0.5


def test_extra_data_of_countless_parts_costs_little_within_its_limit(tmp_path):
    path = directory(tmp_path / "m.zip", extra=b"\x99\x99\0\0" * 1024, entries=250)
    started = time.process_time()
    infos, _ = read_directory(path)
    assert len(infos) == 250
    # Copied after each part, extra data without limits would take minutes.
    assert time.process_time() - started < 10


def test_an_archive_of_thousands_of_files_is_read_whole(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(3000):
            archive.writestr(zipfile.ZipInfo(f"weights/{number}"), b"")
    path = tmp_path / "m.zip"
    path.write_bytes(buffer.getvalue())
    infos, _ = read_directory(path)
    assert [info.filename for info in infos] == [
        f"weights/{number}" for number in range(3000)
    ]


def test_reads_are_bounded(tmp_path):
    path = tmp_path / "m.zip"
    path.write_bytes(bytes(5 * 1024**2))
    with BoundedReads(path) as file:
        assert len(file.read()) == 4 * 1024**2
        file.seek(0)
        assert len(file.read(None)) == 4 * 1024**2
        file.seek(0)
        with pytest.raises(DirectoryTooLarge):
            file.read(5 * 1024**2)
