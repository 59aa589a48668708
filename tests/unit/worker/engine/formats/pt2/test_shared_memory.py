"""Values that may lie in the same memory, and operators that write into one."""

import pytest
import torch
from torch.fx import Graph

from worker.engine.formats.pt2.shared_memory import SharedMemory, functional

ATEN = torch.ops.aten


class Values:
    """A graph whose values are made one by one."""

    def __init__(self):
        self.graph = Graph()
        self.x = self.graph.placeholder("x")

    def call(self, operator, *args):
        return self.graph.call_function(operator, args)


def test_views_of_views_share_and_new_tensors_do_not():
    values = Values()
    conv = values.call(ATEN.conv2d.default, values.x, values.x)
    view = values.call(ATEN.view.default, conv, [1])
    row = values.call(ATEN.select.int, view, 0, 0)
    pooled = values.call(ATEN.max_pool2d.default, conv, [2])
    memory = SharedMemory(values.graph)
    assert memory.sharing([row]) == [conv, view, row]
    assert memory.sharing([pooled]) == [pooled]
    assert memory.sharing([values.x]) == [values.x]


def test_operators_of_others_may_return_their_input():
    values = Values()
    same = values.call(ATEN.dropout.default, values.x, 0.5, False)
    assert SharedMemory(values.graph).sharing([same]) == [values.x, same]


@pytest.mark.parametrize("is_read", [True, False])
def test_what_is_written_is_seen_by_views_that_are_read_later(is_read):
    values = Values()
    conv = values.call(ATEN.conv2d.default, values.x, values.x)
    view = values.call(ATEN.view.default, conv, [1])
    written = values.call(ATEN.relu_.default, conv)
    values.call(ATEN.neg.default, view if is_read else written)
    memory = SharedMemory(values.graph)
    assert memory.others_read_later(written, [conv]) == is_read


@pytest.mark.parametrize(
    ("operator", "args", "expected"),
    [
        (ATEN.relu_.default, (), ATEN.relu.default),
        (ATEN.add_.Tensor, (1,), ATEN.add.Tensor),
        (ATEN.relu.default, (), None),
        # there is no operator `requires_grad`
        (ATEN.requires_grad_.default, (), None),
        (ATEN._index_put_impl_.default, ([], 1), ATEN._index_put_impl.default),
    ],
)
def test_an_operator_in_place_has_one_that_is_not(operator, args, expected):
    values = Values()
    assert functional(values.call(operator, values.x, *args)) is expected
