"""The TorchScript archive: extra files survive, and what torch cannot take is refused by name."""

from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.torchscript.damaged_archives import damaged, refusal_of, rewritten, write
from torch import nn

from convpress.refusal import Code, Refusal
from worker.engine.formats.torchscript.model import TorchScriptModel


def test_extra_files_are_passed_on(tmp_path):
    path = write(tmp_path, **{"labels.txt": "cat\ndog", "nested/a": "b"})
    opened = TorchScriptModel.open(path)
    opened.save(tmp_path / "out.pt")
    extra = {"labels.txt": "", "nested/a": ""}
    torch.jit.load(tmp_path / "out.pt", _extra_files=extra)
    assert extra == {"labels.txt": b"cat\ndog", "nested/a": b"b"}


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-30],
        lambda content: b"PK\3\4" + bytes(400),
    ],
    ids=["half of it", "without its last bytes", "a header alone"],
)
def test_an_archive_without_its_end_is_truncated(tmp_path, change):
    assert refusal_of(damaged(tmp_path, change)).code == Code.MODEL_TRUNCATED


def test_an_archive_of_a_later_version_is_unsupported(tmp_path):
    path = rewritten(
        tmp_path,
        lambda name, content: b"11\n" if name.endswith("/version") else content,
    )
    refusal = refusal_of(path)
    assert refusal.code == Code.MODEL_UNSUPPORTED
    assert "version 11" in refusal.detail


def test_an_operator_of_another_library_is_unsupported_and_named(tmp_path):
    def change(name, content):
        return (
            content.replace(b"torch.conv2d(", b"ops.elsewhere.conv2d(")
            if "/code/" in name
            else content
        )

    refusal = refusal_of(rewritten(tmp_path, change))
    assert refusal.code == Code.MODEL_UNSUPPORTED
    assert "elsewhere::conv2d" in refusal.detail
    assert "export it to ONNX" in refusal.detail


@pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch without mkldnn"
)
def test_a_model_for_inference_is_told_to_come_from_before(tmp_path):
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    optimised = torch.jit.optimize_for_inference(torch.jit.script(layers.eval()))
    path = tmp_path / "model.pt"
    torch.jit.save(optimised, path)
    refusal = refusal_of(path)
    assert refusal.code == Code.MODEL_UNSUPPORTED
    assert refusal.expected == "the model from before optimize_for_inference"


@pytest.mark.parametrize("part", ["/data.pkl", "/constants.pkl", ".py"])
def test_an_archive_whose_parts_are_damaged_is_invalid(tmp_path, part):
    path = rewritten(
        tmp_path, lambda name, content: b"\xff" * 9 if name.endswith(part) else content
    )
    assert refusal_of(path).code == Code.MODEL_INVALID


def test_an_archive_of_something_else_than_a_module_is_invalid(tmp_path):
    path = rewritten(
        tmp_path,
        lambda name, content: (
            b"\x80\x02}q\x00." if name.endswith("/data.pkl") else content
        ),
    )
    assert refusal_of(path).code == Code.MODEL_INVALID


@settings(deadline=None, max_examples=10)
@given(place=st.floats(0, 1), value=st.integers(0, 255))
def test_a_damaged_archive_opens_or_is_refused_but_nothing_else(
    tmp_path_factory, place, value
):
    def flip(content):
        at = int(place * (len(content) - 1))
        return content[:at] + bytes([value]) + content[at + 1 :]

    path = damaged(tmp_path_factory.mktemp("damaged"), flip)
    with suppress(Refusal):
        opened = TorchScriptModel.open(path)
        opened.count(opened.bind({"": (1, 3, 9, 9)}))
