"""Extra files that would run code for a reader that unpickles them are refused."""

import io
import os
import pickle
import zipfile

import pytest
import torch

from convpress.gate.torchscript.extras import require_safe_extra
from convpress.limits import Limits
from convpress.refusal import Refusal


class Call:
    def __reduce__(self):
        return os.system, ("true",)


def code_of(content):
    try:
        require_safe_extra(content, "extra/file", Limits())
    except Refusal as refusal:
        return str(refusal.code)
    return None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_that_call_are_refused_and_plain_ones_pass(protocol):
    assert code_of(pickle.dumps(Call(), protocol)) == "model_unsafe"
    assert code_of(pickle.dumps([Call()], protocol)[:-1] + b"nothing") == "model_unsafe"
    plain = {"labels": ["cat", "dog"], "mean": (0.5, 1), "size": 10**30, "no": None}
    assert code_of(pickle.dumps(plain, protocol)) is None


@pytest.mark.parametrize(
    "before",
    [b"(0", b"I0x10\n0", b"S'\xff'\n0", b"F1_0.0\n0", b"N0", b"((1", b"\x80\x05"],
)
def test_nothing_before_a_call_hides_it(before):
    assert code_of(before + b"cos\nsystem\n(S'true'\ntR.") == "model_unsafe"


@pytest.mark.parametrize(
    "content",
    [
        b"cantigravity\nfly\n.",
        b"\x80\x02cantigravity\nfly\n",
        b"\x80\x04\x8c\x0bantigravity\x8c\x03fly\x93",
        b"\x80\x02\x82\x01",
    ],
)
def test_an_import_runs_a_module(content):
    assert code_of(content) == "model_unsafe"


def test_an_archive_of_a_pickle_is_refused():
    saved = io.BytesIO()
    torch.save({"a": 1}, saved)
    assert code_of(saved.getvalue()) == "model_unsafe"
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("data.pkl", b"")
    assert code_of(saved.getvalue()) == "model_unsafe"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"a": 1}',
        b"cat\ndog\nrabbit\n",
        b"Person\ncar\n",
        b"(a, b)",
        b"name: x\n",
        b"\0\xff",
    ],
)
def test_texts_pass(content):
    assert code_of(content) is None


def test_an_endless_pickle_is_refused():
    assert code_of(b"N" * 2_000_000) == "model_over_limit"
