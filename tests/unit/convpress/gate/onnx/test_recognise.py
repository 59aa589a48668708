"""An ONNX model is a message of known fields, or an archive with one in it."""

import pytest

from convpress.gate import bundle
from convpress.gate.container import Container
from convpress.gate.onnx.recognise import recognise_onnx
from convpress.refusal import Refusal

MODEL = b"\x08\x0a\x3a\x00"


def recognised(path, content, members=None):
    path.write_bytes(content)
    return recognise_onnx(Container(path, memoryview(content), members))


@pytest.mark.parametrize(
    ("content", "is_model"),
    [
        (MODEL, True),
        (b"\x3a\x00\x08\x0a", True),
        (b"\x08\x0a", False),  # no graph
        (MODEL + b"\x4a\x00", False),  # field 9
        (b"\x3a\x05x", False),
        (b"", False),
    ],
)
def test_a_model_has_a_graph_and_known_fields(tmp_path, content, is_model):
    assert recognised(tmp_path / "net", content) is is_model


def test_a_model_that_is_cut_short_is_said_to_be(tmp_path):
    with pytest.raises(Refusal) as refusal:
        recognised(tmp_path / "net", MODEL[:-1] + b"\x05x")
    assert refusal.value.code == "model_truncated"


def test_an_archive_is_one_of_a_model_unless_it_has_a_pickle(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(bundle, "read", opened.append)
    path = tmp_path / "net.zip"
    assert recognised(path, b"PK", ("net/model.onnx", "net/weights"))
    assert not recognised(path, b"PK", ("net/model.onnx", "net/data.pkl"))
    assert not recognised(path, b"PK", ("net/weights",))
    assert opened == [path]
