"""Bundles of all kinds have the same files, without what file managers add."""

import io
import struct
import tarfile
import warnings
import zipfile

import pytest

from convpress.gate import bundle
from convpress.gate.identify import identify
from convpress.refusal import Refusal

LITTER = (
    "__MACOSX/export/._net.onnx",
    "__MACOSX/._export",
    "__MACOSX/Icon\n",
    "._net.onnx",
    "export/._weights",
    ".DS_Store",
    "export/.DS_Store",
    "export/Thumbs.db",
    "thumbs.db",
    "desktop.ini",
    "export/Desktop.ini",
)
KINDS = ("zip", "tar")


def packed(path, kind, files):
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_what_file_managers_add_is_passed_over(tmp_path, kind):
    files = {"export/net.onnx": b"\x08\x08", "export/weights": b"abc"}
    path = packed(
        tmp_path / "net", kind, {**dict.fromkeys(LITTER, b"\0\5\26\7"), **files}
    )
    assert identify(path) == "onnx"
    archive = bundle.read(path)
    assert list(archive.members) == list(files)
    assert archive.model.name == "export/net.onnx"
    assert archive.find("weights").size == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["._MACOSX/w", "MACOSX/w", "x._w", "DS_Store", "my desktop.ini"]
)
def test_other_names_are_files_of_the_user(tmp_path, kind, name):
    path = packed(tmp_path / "net", kind, {"net.onnx": b"", name: b"1"})
    assert list(bundle.read(path).members) == ["net.onnx", name]


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_of_litter_alone_has_no_model(tmp_path, kind):
    path = packed(
        tmp_path / "net", kind, {"__MACOSX/._net.onnx": b"", "._net.onnx": b""}
    )
    with pytest.raises(Refusal) as refusal:
        bundle.read(path)
    assert refusal.value.code == "model_unrecognised"


def test_files_of_a_zip_archive_have_no_bytes_in_common(tmp_path):
    path = packed(
        tmp_path / "net", "zip", {"net.onnx": b"", "w": bytes(100), "v": bytes(100)}
    )
    content = path.read_bytes()
    offsets = [
        content.index(b"PK\x03\x04" + content[4:26]),
        content.index(b"w" + bytes(100)) - 30,
    ]
    entry = content.rindex(b"PK\x01\x02")
    # The directory says that `v` is where `w` is.
    moved = (
        content[: entry + 42] + struct.pack("<I", offsets[1]) + content[entry + 46 :]
    )
    path.write_bytes(moved)
    with pytest.raises(Refusal, match="overlap") as refusal:
        bundle.read(path)
    assert refusal.value.code == "model_invalid"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [".", "sub/..", "..", "../w", "/w", "a\\w"])
def test_a_name_is_a_plain_path(tmp_path, kind, name):
    path = packed(tmp_path / "net", kind, {"net.onnx": b"", name: b"1"})
    with pytest.raises(Refusal) as refusal:
        bundle.read(path)
    assert refusal.value.code == "model_invalid"


def test_a_chain_of_headers_is_said_to_be_one(tmp_path):
    info = tarfile.TarInfo("PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 12
    block = info.tobuf(tarfile.USTAR_FORMAT) + b"12 a=bcdefg\n".ljust(512, b"\0")
    path = tmp_path / "net.tar"
    path.write_bytes(block * 2000 + tarfile.TarInfo("net.onnx").tobuf() + bytes(1024))
    with pytest.raises(Refusal, match="chain of headers") as refusal:
        identify(path)
    assert refusal.value.code == "model_over_limit"
    assert refusal.value.expected
    assert refusal.value.got == f"a tar archive of {path.stat().st_size} bytes"
