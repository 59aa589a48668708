"""Archives of torch.export are read without torch, in every version that is promised."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.pt2.archives import (
    CONSTANTS,
    PROGRAM,
    SAMPLES,
    SMALL,
    WEIGHTS,
    members,
    packed,
    with_members,
    with_program,
)

from convpress.gate.check import require_safe
from convpress.gate.identify import identify
from convpress.gate.pt2.archive import read_archive
from convpress.limits import Limits
from convpress.refusal import Refusal

MODELS = SMALL.parent
SMALL_ONES = sorted(MODELS.glob("small.torch-*.pt2"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model"


def refusal_of(path, content, limits=None):
    path.write_bytes(content)
    with pytest.raises(Refusal) as refusal:
        require_safe(path, "pt2", limits or Limits())
    assert refusal.value.field == "model"
    assert len(refusal.value.detail) < 500
    return refusal.value


@pytest.mark.parametrize("file", SMALL_ONES, ids=lambda file: file.name)
def test_every_version_is_read(file):
    assert identify(file) == "pt2"
    require_safe(file, "pt2", Limits())
    archive = read_archive(file)
    assert archive.torch_version.startswith(file.stem.removeprefix("small.torch-"))
    assert archive.schema_version[0] == 8
    assert archive.folder == file.stem
    assert {name: tensor.sizes for name, tensor in archive.weights.items()} == {
        "conv.weight": (4, 1, 3, 3),
        "conv.bias": (4,),
        "norm.weight": (4,),
        "norm.bias": (4,),
        "norm.running_mean": (4,),
        "norm.running_var": (4,),
        "norm.num_batches_tracked": (),
        "head.weight": (6, 64),
        "head.bias": (6,),
        "runs": (1,),
    }
    assert archive.weights["norm.num_batches_tracked"].dtype == "int64"
    assert set(archive.constants) == {"scale", "lifted_tensor_0"}


def test_there_is_a_file_of_the_first_and_of_the_last_version():
    assert {file.stem.rpartition(".")[0] for file in SMALL_ONES} >= {
        "small.torch-2.9",
        "small.torch-2.13",
        "small.torch-2.14",
    }


def test_tensors_are_where_torch_has_them():
    content = SMALL.read_bytes()
    archive = read_archive(SMALL)
    state = torch.export.load(SMALL).state_dict
    for name, tensor in archive.weights.items():
        member = archive.members[tensor.member]
        elements = np.frombuffer(content[member.start : member.end], tensor.dtype)
        value = torch.from_numpy(elements.copy()).as_strided(
            tensor.sizes, tensor.strides, tensor.storage_offset
        )
        assert torch.equal(value, state[name])
        assert tensor.is_parameter is isinstance(state[name], torch.nn.Parameter)


def test_a_compressed_program_is_read(path):
    path.write_bytes(with_members({}, deflated=(PROGRAM, WEIGHTS)))
    assert read_archive(path).members[PROGRAM].deflated


@pytest.mark.parametrize("missing", [SAMPLES, WEIGHTS, CONSTANTS, "archive_version"])
def test_a_missing_member_is_named(path, missing):
    refusal = refusal_of(path, with_members({missing: None}))
    assert refusal.code == "model_invalid"
    assert missing in refusal.detail


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("data/weights/weight_x", "model_unsafe", "weight_x"),
        ("data/constants/custom_obj_0", "model_unsafe", "pickle"),
        ("data/weights/model.pt", "model_unsafe", "pickle"),
        ("models/decoder.json", "model_unsupported", "'decoder'"),
        ("models/a/model.json", "model_unsupported", "'a/model'"),
        ("MODELS/model.json", "model_unsafe", "MODELS"),
        ("model.json", "model_unsafe", "model.json"),
        ("data/sample_inputs/other.pt", "model_unsafe", "other.pt"),
    ],
)
def test_another_member_is_refused(path, name, code, words):
    refusal = refusal_of(path, with_members({name: b"x"}))
    assert refusal.code == code
    assert words in refusal.detail


def test_a_damaged_program_is_refused(path):
    content = bytearray(SMALL.read_bytes())
    at = content.index(b'"graph_module"')
    content[at + 1] ^= 1
    assert "checksum" in refusal_of(path, bytes(content)).detail
    for program in (b"\xff", b"[]", b"", b"{}"):
        refusal = refusal_of(path, with_members({PROGRAM: program}))
        assert refusal.code in {"model_invalid", "model_unsupported"}


def test_limits_hold(path):
    content = SMALL.read_bytes()
    for limits in (
        Limits(json_bytes=1000),
        Limits(json_values=100),
        Limits(nodes=3),
        Limits(tensors=3),
        Limits(tensor_bytes=100),
        Limits(members=3),
    ):
        assert refusal_of(path, content, limits).code == "model_over_limit"


def test_long_notes_are_refused(path):
    assert (
        "note" in refusal_of(path, with_members({".data/version": b"6" * 2000})).detail
    )


def test_the_same_members_are_read_whatever_the_folder_is_called(path):
    path.write_bytes(packed(members(SMALL.read_bytes()), "größe 1"))
    assert read_archive(path).folder == "größe 1"


def test_another_format_is_refused(path):
    path.write_bytes(with_program(lambda _: None))
    with pytest.raises(Refusal, match="the file is pt2, not onnx"):
        require_safe(path, "onnx", Limits())


def test_neither_torch_nor_numpy_is_needed():
    code = (
        "import sys; from pathlib import Path; from convpress.gate.pt2.archive import read_archive;"
        f"read_archive(Path({str(SMALL)!r}));"
        "assert not {'torch', 'numpy', 'sympy'} & sys.modules.keys()"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[5]
    )


def test_programs_are_what_json_says():
    program = json.loads(members(SMALL.read_bytes())[PROGRAM])
    assert read_archive(SMALL).program == program
