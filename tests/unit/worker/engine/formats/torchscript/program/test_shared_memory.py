"""Values that change along when one of them is written."""

import pytest
import torch
from torch import nn

from worker.engine.formats.aten.step_recorder import StepRecorder
from worker.engine.formats.torchscript.graph import nodes
from worker.engine.formats.torchscript.method import inlined_methods
from worker.engine.formats.torchscript.program.shared_memory import (
    SharedMemory,
    require_single_name,
)
from worker.engine.formats.torchscript.program.value_names import ValueNames
from worker.engine.program import NoProgramError


class Writing(nn.Module):
    """A row of a value is written, next to a value of its own."""

    def forward(self, x):
        y = x * 2
        other = x + 1
        row = y.select(0, 0)
        row.zero_()
        return y, row, other


class Listing(nn.Module):
    """Lists with one name and with two."""

    def forward(self, x):
        alone = [x]
        alone.append(x)
        held = [x]
        holder = [held]
        held.append(x)
        return alone, holder


@pytest.fixture
def method():
    (method,) = inlined_methods(torch.jit.script(Writing()))
    return method


def node_of(method, kind):
    return next(node for node in nodes(method.graph) if node.kind() == kind)


def test_a_view_changes_along_with_what_it_is_of(method):
    names, steps = ValueNames(), StepRecorder()
    values = {}
    for kind in ("aten::mul", "aten::add", "aten::select"):
        values[kind] = node_of(method, kind).output()
        names.bind(values[kind], kind)
    memory = SharedMemory(method, names, steps)
    row = values["aten::select"]
    assert set(memory.names_sharing([row])) == {"aten::mul", "aten::select"}
    assert set(memory.names_sharing([])) == set()
    writer = node_of(method, "aten::zero_")
    assert memory.reached(writer, list(values.values()), [row]) == [2]


def test_constants_share_by_their_memory(method):
    names, steps = ValueNames(), StepRecorder()
    whole = torch.zeros(2, 3)
    steps.constants |= {"whole": whole, "row": whole[0], "other": torch.zeros(3)}
    for kind, name in (
        ("aten::mul", "whole"),
        ("aten::select", "row"),
        ("aten::add", "other"),
    ):
        names.bind(node_of(method, kind).output(), name)
    row = node_of(method, "aten::select").output()
    memory = SharedMemory(method, names, steps)
    assert set(memory.names_sharing([row])) == {"whole", "row"}


def test_a_list_that_is_written_has_one_name():
    (method,) = inlined_methods(torch.jit.script(Listing()))
    alone, held = [
        node for node in nodes(method.graph) if node.kind() == "aten::append"
    ]
    require_single_name(alone.inputsAt(0), alone)
    with pytest.raises(NoProgramError, match="several names"):
        require_single_name(held.inputsAt(0), held)


def test_a_list_that_comes_from_outside_may_have_several(method):
    writer = node_of(method, "aten::zero_")
    (_, x) = method.graph.inputs()
    with pytest.raises(NoProgramError, match="several names"):
        require_single_name(x, writer)
