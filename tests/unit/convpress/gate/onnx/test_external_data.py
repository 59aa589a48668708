"""Weights beside an ONNX model lie where the model says, whole, in a file of the same bundle."""

import zipfile

import onnx
import pytest

from convpress.gate.onnx.check import require_safe_onnx
from convpress.limits import Limits
from convpress.refusal import Refusal

BYTES = 36 * 4


def refusal_of(tmp_path, *entries):
    """The refusal of a bundle whose tensor of 144 bytes has these entries; None where it passes."""
    weight = onnx.TensorProto(name="w", dims=[4, 1, 3, 3], data_type=1, data_location=1)
    for key, value in entries:
        weight.external_data.add(key=key, value=value)
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [weight]))
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.onnx", model.SerializeToString())
        archive.writestr("w.bin", bytes(BYTES + 16))
    try:
        require_safe_onnx(path, Limits())
    except Refusal as refusal:
        return refusal
    return None


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [("offset", "16")],
        [("length", "144")],
        [("offset", "16"), ("length", "144"), ("checksum", "of no interest")],
    ],
)
def test_a_tensor_within_its_file_passes(tmp_path, entries):
    assert refusal_of(tmp_path, ("location", "w.bin"), *entries) is None


@pytest.mark.parametrize(
    ("entries", "code", "words"),
    [
        ([("offset", "17")], "model_invalid", "at byte 17 of w.bin, which has 160"),
        ([("offset", "-1")], "model_invalid", "at byte -1"),
        ([("length", "143")], "model_invalid", "needs 144 bytes, and states 143"),
        ([("length", "0")], "model_invalid", "states 0 bytes"),
        ([("offset", "1e3")], "model_invalid", "no number as its place in w.bin"),
        ([("location", "w.bin")], "model_unsafe", "states it twice"),
        ([("basepath", "/etc")], "model_unsafe", "basepath"),
    ],
)
def test_any_other_place_is_refused(tmp_path, entries, code, words):
    refusal = refusal_of(tmp_path, ("location", "w.bin"), *entries)
    assert refusal.code == code
    assert words in refusal.detail


@pytest.mark.parametrize(
    "location", ["", ".", "..", "/etc/passwd", "a\\b", "c:w.bin", "x" * 256]
)
def test_a_path_is_an_attempt_to_reach_other_files(tmp_path, location):
    refusal = refusal_of(tmp_path, ("location", location))
    assert refusal.code == "model_unsafe"
    assert len(refusal.detail) < 300


def test_a_plain_name_is_a_file_that_was_left_out(tmp_path):
    refusal = refusal_of(tmp_path, ("location", "other.bin"))
    assert refusal.code == "model_unsupported"
    assert "save_as_external_data=False" in refusal.detail
