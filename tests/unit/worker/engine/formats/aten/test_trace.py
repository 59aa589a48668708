"""A run as its operators: what multiplies, and how often."""

import pytest
import torch

from worker.engine.formats.aten.layers import tensor_key
from worker.engine.formats.aten.trace import Account, Operation, Trace

MATRIX = torch.ones(5, 3)
ROW = torch.ones(5)
FILTERS = torch.ones(4, 3, 3)
STORED = {tensor_key(each) for each in (MATRIX, ROW, FILTERS)}
X = torch.ones(2, 7, 3)


def traced(compute):
    trace = Trace(STORED)
    with torch.no_grad(), trace:
        compute()
    return trace.account


@pytest.mark.parametrize(
    ("compute", "macs"),
    [
        (lambda: torch.conv1d(X.mT, FILTERS, stride=2), 2 * 3 * (4 * 3 * 3)),
        (
            lambda: torch.conv_transpose1d(torch.ones(2, 4, 6), FILTERS, groups=2),
            2 * 6 * (4 * 3 * 3),
        ),
        (lambda: X @ MATRIX.t(), 14 * 15),
        (lambda: X @ X.mT, 2 * 7 * 7 * 3),
        (lambda: torch.baddbmm(torch.zeros(1), X, X.mT), 2 * 7 * 7 * 3),
    ],
)
def test_a_number_is_counted_for_each_weight_and_position(compute, macs):
    account = traced(compute)
    assert (account.macs, account.matrix_macs) == (macs, macs)


def test_a_product_with_a_stored_matrix_is_a_linear_layer():
    (operation,) = traced(lambda: torch.addmm(ROW, X[0], MATRIX.t())).operations
    assert (operation.op, operation.weight) == ("linear", tensor_key(MATRIX))
    assert (operation.weight_shape, operation.call.batch) == ((5, 3), 7)


def test_a_matrix_on_the_left_is_one_too():
    (operation,) = traced(lambda: MATRIX @ X[0].t()).operations
    assert (operation.weight_shape, operation.call.batch) == ((5, 3), 7)


def test_a_convolution_without_an_axis_of_a_batch_has_a_batch_of_one():
    (operation,) = traced(lambda: torch.conv1d(X[0].t(), FILTERS)).operations
    assert (operation.op, operation.call.batch) == ("conv1d", 1)
    assert operation.call.input_size == (7,)


def test_a_product_with_a_vector_is_none_of_matrices():
    account = traced(lambda: torch.mv(MATRIX, X[0, 0]))
    assert (account.macs, account.matrix_macs) == (15, 0)


def test_operators_without_a_rule_are_those_with_a_weight_or_that_solve():
    def compute():
        square = MATRIX[:3]
        torch.linalg.inv(square + torch.eye(3))
        torch.linalg.inv(square.t() @ square + torch.eye(3))
        torch.linalg.solve_triangular(torch.eye(3), X[0].t(), upper=True)
        torch.linalg.inv_ex(MATRIX[2:])

    account = traced(compute)
    assert account.unaccounted == {
        "linalg_solve_triangular": None,
        "linalg_inv_ex": tensor_key(MATRIX),
    }


def test_what_runs_apart_has_an_account_of_its_own():
    trace = Trace(STORED)
    with torch.no_grad(), trace:
        torch.mm(MATRIX, X[0].t())
        with trace.apart() as apart:
            torch.mm(X[0], MATRIX.t())
    assert (trace.account.macs, apart.macs) == (105, 105)
    trace.account.add(apart)
    assert trace.account.macs == 210


def test_an_account_adds_what_another_holds():
    one = Operation("mm", None, None, (), 4)
    account, other = Account(matrix_macs=8), Account(matrix_macs=4)
    account.operations[one] = 2
    other.operations[one] = 1
    other.others["relu"] = 3
    other.unaccounted["odd"] = None
    account.add(other)
    assert (account.macs, account.matrix_macs) == (12, 12)
    assert (account.others["relu"], account.unaccounted) == (3, {"odd": None})


def test_a_failure_keeps_its_message():
    trace = Trace(STORED)
    with pytest.raises(RuntimeError), trace:
        torch.mm(X[0], X[0])
    assert "mat1 and mat2" in str(trace.failure)
