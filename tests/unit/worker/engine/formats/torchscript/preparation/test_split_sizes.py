"""Sizes of the parts of a parameter, which add up to it."""

from types import SimpleNamespace

import pytest
import torch

from worker.engine.formats.aten.layers import UNKNOWN
from worker.engine.formats.torchscript.graph import literal
from worker.engine.formats.torchscript.preparation.split_sizes import settle

# a parameter in two parts, by sizes of the input
TEXT = """graph(%w : Tensor, %x : Tensor):
  %axis : int = prim::Constant[value=0]()
  %other : int = prim::Constant[value=1]()
  %two : int = prim::Constant[value=2]()
  %width : int = aten::size(%x, %other)
  %height : int = aten::size(%x, %axis)
  %double : int = aten::mul(%width, %two)
  %more : int = aten::add(%width, %two)
  %sizes : int[] = prim::ListConstruct(PARTS)
  %parts : Tensor[] = aten::split_with_sizes(%w, %sizes, %axis)
  return (%parts)"""


def sizes(parts, rows):
    """Return the sizes of the parts that the graph states; None where it states none."""
    graph = torch._C.parse_ir(TEXT.replace("PARTS", parts))
    weight, _ = graph.inputs()

    def constant(value):
        if value.unique() == weight.unique():
            return torch.zeros(rows, 2)
        content = literal(value)
        return UNKNOWN if content is None else content

    settle(SimpleNamespace(graph=graph, constant=constant))
    torch._C._jit_pass_lint(graph)
    split = next(iter(graph.outputs())).node()
    return split.inputsAt(1).toIValue()


@pytest.mark.parametrize(
    ("parts", "rows", "lengths"),
    [
        ("%width, %double", 12, [4, 8]),
        ("%width, %width, %width", 12, [4, 4, 4]),
        ("%double", 12, [12]),
    ],
)
def test_multiples_of_one_unknown_size_are_shares_of_the_whole(parts, rows, lengths):
    assert sizes(parts, rows) == lengths


@pytest.mark.parametrize(
    ("parts", "rows"),
    [
        ("%width, %double", 13),
        ("%width, %height", 12),
        ("%width, %more", 12),
        ("%two, %two", 4),
    ],
    ids=["no whole shares", "two unknown sizes", "no multiple", "known"],
)
def test_other_sizes_stay(parts, rows):
    assert sizes(parts, rows) is None
