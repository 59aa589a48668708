"""Refusals of ONNX files."""

from convpress.refusal import Code
from worker.engine.formats.onnx.storage.refusals import invalid_file, missing_weights


def test_a_file_that_cannot_be_parsed_is_invalid():
    refusal = invalid_file("the file is empty", "0 bytes")
    assert (refusal.code, refusal.got) == (Code.MODEL_INVALID, "0 bytes")


def test_a_name_of_weights_is_shown_in_part():
    refusal = missing_weights("w" * 500)
    assert refusal.code == Code.MODEL_UNSUPPORTED
    assert refusal.got.count("w") == 80
