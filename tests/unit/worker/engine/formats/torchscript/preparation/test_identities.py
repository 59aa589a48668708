"""Comparisons of a value with itself are settled before a run."""

import pytest
import torch

from worker.engine.formats.torchscript.graph import nodes
from worker.engine.formats.torchscript.preparation.identities import settle

SAME = """graph(%x : Tensor):
  %a : bool = aten::__is__(%x, %x)
  %b : bool = aten::__isnot__(%x, %x)"""
NOTHING = """graph(%x : Tensor):
  %n : NoneType = prim::Constant()
  %a : bool = aten::__is__(%x, %n)
  %b : bool = aten::__isnot__(%x, %n)"""
MAYBE = """graph(%x : Tensor?):
  %n : NoneType = prim::Constant()
  %a : bool = aten::__is__(%x, %n)
  %b : bool = aten::__isnot__(%x, %n)"""
OTHER = """graph(%x : Tensor, %y : Tensor):
  %a : bool = aten::__is__(%x, %y)
  %b : bool = aten::__isnot__(%x, %y)"""
VIEWS = """graph(%x : Tensor):
  %n : int = prim::Constant[value=0]()
  %v : Tensor = aten::unsqueeze(%x, %n)
  %w : Tensor = aten::unsqueeze(%x, %n)
  %a : bool = aten::__is__(%v, %w)
  %b : bool = aten::__isnot__(%v, %w)"""
END = """
  %pair : (bool, bool) = prim::TupleConstruct(%a, %b)
  return (%pair)"""


@pytest.mark.parametrize(
    ("text", "answers"),
    [(SAME, [True, False]), (NOTHING, [False, True])],
)
def test_a_comparison_with_itself_or_with_nothing_is_settled(text, answers):
    graph = torch._C.parse_ir(text + END)
    assert settle(graph)
    torch._C._jit_pass_lint(graph)
    pair = next(iter(graph.outputs())).node()
    assert [value.toIValue() for value in pair.inputs()] == answers
    assert not settle(graph)


# views are alike in torch's own code alone: there they only choose how to compute
@pytest.mark.parametrize("text", [MAYBE, OTHER, VIEWS])
def test_what_only_a_run_can_tell_stays(text):
    graph = torch._C.parse_ir(text + END)
    assert not settle(graph)
    assert "aten::__is__" in {node.kind() for node in nodes(graph)}
