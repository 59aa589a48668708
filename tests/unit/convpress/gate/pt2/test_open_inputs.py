"""Sizes that a program leaves open are found in its graph, by the same rules as the engine's."""

import tracemalloc

import pytest
import torch
from support.pt2.archives import PROGRAM, graph, with_members, with_program
from support.pt2.programs import opened
from torch import nn

from convpress.gate.pt2.open_inputs import open_shape
from convpress.gate.required_shape import require_shape
from convpress.refusal import Code, Refusal


class Halved(nn.Module):
    """It takes images of even height and width, and a mask of the batch."""

    def forward(self, image, mask):
        return (
            image.unfold(2, 2, 2).unfold(3, 2, 2) * mask[:, :, None, None, None, None]
        )


def exported(path, sizes, masked):
    free = {axis: size for axis, size in enumerate(sizes) if size is not None}
    shapes = (free, {} if masked is None else {0: masked})
    program = torch.export.export(
        Halved(), (torch.rand(5, 3, 8, 12), torch.rand(5, 3)), dynamic_shapes=shapes
    )
    torch.export.save(program, path)
    return path


def dim(name, least=1):
    return torch.export.Dim(name, min=least, max=64)


FOUR = dim("four", 4)
ONE = dim("one")
HALF = dim("half", 2)
CASES = {
    "fixed": ((None, None, None, None), None, None),
    "batch": ((ONE, None, None, None), ONE, None),
    "batch of four": ((FOUR, None, HALF * 2, None), FOUR, "image=4x3x?x12"),
    "sides": ((ONE, None, 2 * HALF, 2 * dim("width", 2)), ONE, "image=1x3x?x?"),
}


@pytest.mark.parametrize("case", CASES)
def test_sizes_are_missing_where_the_engine_would_miss_them(tmp_path, case):
    sizes, masked, expected = CASES[case]
    path = exported(tmp_path / "model.pt2", sizes, masked)
    assert open_shape(path) == expected
    if expected is None:
        opened(path).bind(None)
        return
    with pytest.raises(Refusal) as refusal:
        opened(path).bind(None)
    assert refusal.value.code == Code.INPUT_SHAPE_REQUIRED
    assert refusal.value.expected == expected


def test_a_job_without_them_is_refused_at_once(tmp_path):
    sizes, masked, _ = CASES["sides"]
    path = exported(tmp_path / "model.pt2", sizes, masked)
    with pytest.raises(Refusal, match="state them") as refusal:
        require_shape("pt2", None, path)
    assert refusal.value.expected == "image=1x3x?x? with numbers for all sizes"
    require_shape("pt2", "image=1x3x8x8,mask=1x3", path)


def with_size(value):
    """An edit that gives the first axis of the image this size."""

    def edit(program):
        graph(program)["tensor_values"]["image"]["sizes"][0] = {"as_int": value}

    return edit


def with_least(value):
    """An edit that says this of the least size of a symbol."""
    return lambda program: program["range_constraints"].update(s0={"min_val": value})


def without_sizes(program):
    graph(program)["tensor_values"]["image"].pop("sizes")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        with_members({PROGRAM: b"[]"}),
        with_members({PROGRAM: b"{"}),
        with_members({PROGRAM: b"\xff"}),
        with_members({PROGRAM: None}),
        with_members({PROGRAM: b" " * (4 * 1024**2) + b"{}"}),
        with_program(with_size("three")),
        with_program(with_size(float("1e999"))),
        with_program(with_least("two")),
        with_program(with_least(0.5)),
        with_program(without_sizes),
        with_program(lambda program: program.update(range_constraints=[])),
        with_program(lambda program: program.update(graph_module=None)),
    ],
    ids=range(14),
)
def test_files_that_are_no_programs_are_left_to_the_engine(tmp_path, content):
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    assert open_shape(path) is None


def test_a_program_of_countless_values_is_not_parsed(tmp_path):
    path = tmp_path / "model.pt2"
    path.write_bytes(with_members({PROGRAM: b"[" + b"[]," * 600_000 + b"1]"}))
    tracemalloc.start()
    assert open_shape(path) is None
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 12 * 1024**2
