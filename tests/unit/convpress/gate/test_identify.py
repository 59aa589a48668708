"""Formats are told from the container alone, whatever the bytes, and at little cost."""

import io
import resource
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convpress.gate.identify import identify
from convpress.gate.protobuf import write_varint
from convpress.refusal import Refusal

MODELS = Path(__file__).parents[3] / "models"


def found(path, content):
    """The format of a file, or the code of its refusal."""
    path.write_bytes(content)
    try:
        return identify(path)
    except Refusal as error:
        refusal = error
    assert refusal.field == "model"
    assert len(refusal.got) < 300
    return str(refusal.code)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("container") / "model"


@pytest.mark.parametrize(
    "model",
    sorted(MODELS.glob("*.onnx")) + sorted(MODELS.glob("*.pt")),
    ids=lambda m: m.name,
)
def test_real_models_are_known_whole_and_refused_when_cut(path, model):
    content = model.read_bytes()
    assert found(path, content) == (
        "onnx" if model.suffix == ".onnx" else "torchscript"
    )
    for length in (5, len(content) // 3, len(content) - 1):
        assert found(path, content[:length]) in {
            "model_truncated",
            "model_unrecognised",
        }


field = st.builds(
    lambda number, payload: (
        write_varint(number << 3 | 2) + write_varint(len(payload)) + payload
    ),
    st.integers(0, 30),
    st.binary(max_size=20),
)


@given(
    st.binary(max_size=200)
    | st.lists(field).map(b"".join)
    | st.binary().map(b"PK\x03\x04".__add__)
)
def test_any_bytes_are_identified_or_refused(path, content):
    assert found(path, content) in {
        "onnx",
        "model_empty",
        "model_unrecognised",
        "model_unsupported",
        "model_truncated",
        "model_pickled",
    }


ARCHIVE = (MODELS / "plain.traced.pt").read_bytes()


@given(st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 255)), max_size=8))
def test_any_damage_to_an_archives_directory_is_survived(path, damage):
    content = bytearray(ARCHIVE)
    for distance, byte in damage:
        content[-distance] = byte
    assert found(path, bytes(content)) in {
        "torchscript",
        "model_unrecognised",
        "model_unsupported",
        "model_truncated",
        "model_pickled",
        "model_over_limit",
    }


def test_a_message_of_countless_fields_costs_a_second_at_most(path):
    path.write_bytes(b"\x08\x07" * 10_000_000)
    started = time.process_time()
    with pytest.raises(Refusal):
        identify(path)
    assert time.process_time() - started < 1


def test_an_archive_of_countless_members_is_refused_before_its_directory_is_read(path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(100_000):
            archive.writestr(zipfile.ZipInfo(str(number)), b"")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert found(path, file.getvalue()) == "model_over_limit"
    # in KiB: an object for each member would take 50,000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000
