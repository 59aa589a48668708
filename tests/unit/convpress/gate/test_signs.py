"""Signs of kinds of files: their first bytes, their fields, their names, or their text."""

import struct
from pathlib import Path

import pytest

from convpress.gate import signs
from convpress.gate.container import Container


def file(content=b"", members=None):
    return Container(Path("file"), memoryview(content), members)


def safetensors(length, header):
    return struct.pack("<Q", length) + header


CASES = {
    "begins": (signs.begins(b"ab", b"cd"), b"cdx", b"xcd"),
    "begins after": (signs.begins_after(2, b"ab"), b"xxab", b"ab"),
    "safetensors": (
        signs.is_safetensors,
        safetensors(4, b'{"a"'),
        safetensors(400, b'{"a"'),
    ),
    "an empty safetensors": (signs.is_safetensors, safetensors(2, b"{}"), b"{}"),
    "TensorRT": (signs.is_tensorrt, b"ftrt", b"\x02\x00\x00\x00{}ftr"),
    "TensorRT after JSON": (signs.is_tensorrt, b"\x02\x00\x00\x00{}ftrt", b"{}ftrt"),
    "Core ML": (signs.is_core_ml, b"\x08\x04\x12\x00\xa2\x1f\x00", b"\x08\x04\x12\x00"),
    "SavedModel": (
        signs.is_saved_model,
        b"\x08\x01\x12\x01\x0a",
        b"\x08\x01\x12\x01\x0b",
    ),
    "GraphDef": (
        signs.is_graph_def,
        b"\x0a\x09\x0a\x01x\x12\x04Relu",
        b"\x0a\x09\x0a\x01x\x12\x04relu",
    ),
    "text": (signs.is_text(r"<html"), "\ufeff \n<HTML>".encode(), b"<html\x00"),
    "path": (signs.is_path, b"/data/net.onnx\n", b"net.onnx\nnet.pt\n"),
    "name": (signs.is_path, b"@net.onnx", b"<a>.onnx"),
}


@pytest.mark.parametrize(("recognise", "good", "bad"), CASES.values(), ids=CASES)
def test_a_file_is_of_the_kind_or_not(recognise, good, bad):
    assert recognise(file(good))
    assert not recognise(file(bad))
    assert not recognise(file())


@pytest.mark.parametrize(
    ("members", "is_kind"),
    [
        (("net/a.json", "weights"), True),
        (("a.json", "deep/er/weights"), True),
        (("a.json",), False),
        (("a.json", "weights.bin"), False),
        ((), False),
        (None, False),
    ],
)
def test_an_archive_needs_a_member_for_each_pattern(members, is_kind):
    assert signs.has(r"a\.json", "weights")(file(members=members)) is is_kind


def test_names_without_end_are_not_looked_at():
    long = ("/" * 65_000,) * 4
    assert signs.has("weights")(file(members=(*long[:3], "weights")))
    assert not signs.has("weights")(file(members=(*long, "/" * 65_000, "weights")))


def test_a_name_of_countless_folders_is_not_looked_at():
    assert signs.has("weights")(file(members=("a/" * 500 + "weights",)))
    assert not signs.has("weights")(file(members=("a/" * 30_000 + "weights",)))


def test_a_character_that_the_end_of_the_head_cuts_is_no_fault():
    content = b"x" * 4095 + "é".encode()
    assert signs.is_text("x")(file(content))
    assert not signs.is_text("x")(file(content[:4096]))
