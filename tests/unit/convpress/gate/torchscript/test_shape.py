"""The shape that an archive's notes suggest: Ultralytics' two forms, and no guess beyond them."""

import json
import zipfile

import pytest

from convpress.gate.torchscript.shape import suggested_shape


@pytest.fixture
def noted(tmp_path):
    """Write an archive with a text as its notes, and return the shape that it suggests."""

    def write(text, method=zipfile.ZIP_STORED, name="net/extra/config.txt"):
        path = tmp_path / "net.pt"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("net/data.pkl", b"")
            archive.writestr(name, text)
        return suggested_shape(path)

    return write


@pytest.mark.parametrize(
    ("notes", "shape"),
    [
        ({"imgsz": [640, 480], "batch": 2, "stride": 32}, "2x3x640x480"),
        ({"imgsz": 320}, "1x3x320x320"),
        ({"imgsz": [640, 640], "channels": 1}, "1x1x640x640"),
        ({"shape": [1, 3, 640, 640], "stride": 32}, "1x3x640x640"),
    ],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_notes_of_an_exporter_suggest_a_shape(noted, notes, shape, method):
    assert noted(json.dumps(notes), method) == shape


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[640, 640]",
        "{}",
        '{"imgsz": [640]}',
        '{"imgsz": ["640", "640"]}',
        '{"imgsz": [0, 640]}',
        '{"imgsz": [true, true]}',
        '{"imgsz": [1e9, 640]}',
        '{"imgsz": [640, 640], "batch": "many"}',
        '{"shape": 3}',
        "[" * 60_000,
        '{"imgsz": 640}' + " " * 70_000,
        b"\xff\xfe",
    ],
)
def test_other_notes_suggest_none(noted, text):
    assert noted(text, zipfile.ZIP_DEFLATED) is None


def test_only_the_exporters_own_file_is_read(noted):
    assert noted('{"imgsz": 640}', name="net/extra/other.txt") is None
    assert noted('{"imgsz": 640}', zipfile.ZIP_BZIP2) is None
