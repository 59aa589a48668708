"""Copies that are opened: without sample inputs and guards, and otherwise the same."""

import json

import pytest
import torch
from support.pt2.archives import (
    PROGRAM,
    SAMPLES,
    SMALL,
    members,
    pickled,
    with_members,
    with_program,
)

from convpress.gate.check import require_safe
from convpress.gate.pt2.samples import write_without_samples
from convpress.limits import Limits
from convpress.refusal import Refusal

SMALL_ONES = sorted(SMALL.parent.glob("small.torch-*.pt2"))


@pytest.fixture
def copy(tmp_path):
    return tmp_path / "copy.pt2"


def test_all_but_sample_inputs_is_the_same(copy):
    write_without_samples(SMALL, copy)
    original = members(SMALL.read_bytes())
    assert members(copy.read_bytes()) == original | {SAMPLES: b""}
    require_safe(copy, "pt2", Limits())


@pytest.mark.parametrize("file", SMALL_ONES, ids=lambda file: file.name)
def test_torch_opens_the_copy_and_computes_the_same(copy, file):
    write_without_samples(file, copy)
    program = torch.export.load(copy)
    assert program.example_inputs is None
    original = torch.export.load(file)
    for batch in (1, 5):
        image = torch.randn(batch, 1, 8, 8)
        assert torch.equal(program.module()(image), original.module()(image))


def test_guards_are_dropped(tmp_path, copy):
    path = tmp_path / "model.pt2"
    path.write_bytes(
        with_program(lambda program: program.update(guards_code=["1 / 0"]))
    )
    require_safe(path, "pt2", Limits())
    write_without_samples(path, copy)
    before, after = (
        json.loads(members(each.read_bytes())[PROGRAM]) for each in (path, copy)
    )
    assert after == before | {"guards_code": []}
    torch.export.load(copy).module()(torch.zeros(2, 1, 8, 8))


def test_the_pickle_of_sample_inputs_is_not_in_the_copy(tmp_path, copy):
    path = tmp_path / "model.pt2"
    path.write_bytes(with_members({SAMPLES: pickled("1 / 0")}))
    require_safe(path, "pt2", Limits())
    write_without_samples(path, copy)
    assert b"1 / 0" not in copy.read_bytes()
    torch.export.load(copy)


def test_compressed_texts_are_copied(tmp_path, copy):
    path = tmp_path / "model.pt2"
    path.write_bytes(with_members({}, deflated=(PROGRAM,)))
    write_without_samples(path, copy)
    assert members(copy.read_bytes())[PROGRAM] == members(path.read_bytes())[PROGRAM]
    require_safe(copy, "pt2", Limits())


def test_damaged_weights_are_refused(tmp_path, copy):
    content = bytearray(SMALL.read_bytes())
    weights = members(bytes(content))["data/weights/weight_0"]
    content[content.index(weights)] ^= 1
    path = tmp_path / "model.pt2"
    path.write_bytes(bytes(content))
    with pytest.raises(Refusal, match="checksum"):
        write_without_samples(path, copy)
