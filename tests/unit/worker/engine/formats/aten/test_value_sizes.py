"""Sizes that values decide in a run of torch, and those that shapes decide."""

import pytest
import torch

from worker.engine.formats.aten.trace import Trace
from worker.engine.formats.aten.value_sizes import ValueSizes

MATRIX = torch.ones(3, 2)
X = torch.tensor([[1.0, 2, 3], [-1, 2, 3], [4, 5, 6]])


def decided(compute):
    """Return whether values decide the sizes of each product, in turn, and whether one was read."""
    sizes = ValueSizes([X])
    with torch.no_grad(), Trace(set(), sizes) as trace:
        compute(X)
    account = trace.account
    each = [operation in account.sized_by_values for operation in account.operations]
    return each, account.values_were_read


def of_mask(x):
    return x[x[:, 0] > 0] @ MATRIX


def of_indices(x):
    return x[(x[:, 0] > 0).nonzero().squeeze(1)] @ MATRIX


def of_repeats(x):
    return x.repeat_interleave(x[:, 1].long(), 0) @ MATRIX


def of_unique_rows(x):
    return torch.unique(x, dim=0) @ MATRIX


def of_written_rows(x):
    rows = torch.zeros_like(x)
    rows[:2] = x[x[:, 0] > 0]
    return rows[x[:, 0] > 0] @ MATRIX


@pytest.mark.parametrize(
    "compute", [of_mask, of_indices, of_repeats, of_unique_rows, of_written_rows]
)
def test_rows_that_values_choose_are_known(compute):
    assert decided(compute) == ([True], False)


def of_shapes(x):
    size = torch.tensor(x.shape[0])
    return x[: int(size)] @ MATRIX


def of_constants(x):
    chosen = torch.tensor([True, False, True])
    return x[chosen] @ MATRIX


def of_whole_indices(x):
    return x[x[:, 0].long().clamp(0, 1)] @ MATRIX


@pytest.mark.parametrize("compute", [of_shapes, of_constants, of_whole_indices])
def test_sizes_that_shapes_and_constants_decide_are_none_of_values(compute):
    assert decided(compute) == ([False], False)


def test_after_a_value_was_read_all_may_depend_on_it():
    def compute(x):
        before = x @ MATRIX
        rows = int(x[0, 0])
        return before, torch.ones(rows, 3) @ MATRIX

    assert decided(compute) == ([False, True], True)


def test_tensors_in_the_place_of_freed_ones_have_nothing_of_them():
    """Interpreters make tensors of sizes without an operator that a trace sees."""
    sizes = ValueSizes([X])
    with Trace(set(), sizes):
        rows = X[X > 0]
        assert sizes.decide([rows])
    del rows
    others = [torch.ones(1) for _ in range(1000)]
    assert not any(sizes.decide([each]) for each in others)


def test_what_reads_values_where_no_trace_sees_it_is_said_before():
    assert ValueSizes([X], were_read=True).decide(MATRIX)
