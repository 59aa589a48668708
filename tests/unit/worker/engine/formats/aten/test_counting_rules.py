"""Operators that are counted by a rule, against a count of their terms; others leave a gap."""

import pytest
import torch
from support.torchscript.modules import write
from torch import nn

from worker.engine.formats.aten.counting_rules import (
    RULES,
    has_no_products,
    is_solver,
)
from worker.engine.formats.aten.tally import NO_MATRIX, NO_RULE
from worker.engine.formats.torchscript.model import TorchScriptModel

LENGTH, BATCH, WIDTH = 7, 2, 6
SIZE = (LENGTH, BATCH, WIDTH)
ENDS = torch.tensor([4, LENGTH * BATCH], dtype=torch.int32)


class OneOperator(nn.Module):
    def __init__(self, compute, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))
        self.compute = compute

    def forward(self, x):
        return self.compute(x, self.weight)


def conv_tbc(x, weight):
    return torch.conv_tbc(x, weight, torch.zeros(5), 1)


def bilinear(x, weight):
    return nn.functional.bilinear(x, x, weight)


def in_a_step_of_attention(x, weight):
    x = x.unsqueeze(1)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return kernel(x, x, weight.expand(LENGTH, 1, BATCH, WIDTH))[0]


def added_in_place(x, weight):
    rows = x.flatten(0, 1)
    total = rows.new_zeros(LENGTH * BATCH, 5)
    total.addmm_(rows, weight)
    return total


def in_groups(x, weight):
    rows = x.flatten(0, 1)[:, :1].repeat(1, 8).bfloat16()
    return torch._grouped_mm(rows, weight.bfloat16(), offs=ENDS)


CASES = {
    "conv_tbc": (conv_tbc, (3, WIDTH, 5), LENGTH * BATCH * 5 * 3 * WIDTH),
    "bilinear": (
        bilinear,
        (4, WIDTH, WIDTH),
        LENGTH * BATCH * 4 * (WIDTH * WIDTH + WIDTH),
    ),
    "cdist": (torch.cdist, (9, WIDTH), LENGTH * BATCH * 9 * WIDTH),
    "einsum": (
        lambda x, weight: torch.einsum("tbc,hcd->bhtd", x, weight),
        (2, WIDTH, 5),
        LENGTH * BATCH * 2 * WIDTH * 5,
    ),
    "baddbmm": (
        lambda x, weight: torch.baddbmm(torch.ones(1), x, weight),
        (LENGTH, WIDTH, 5),
        LENGTH * BATCH * WIDTH * 5,
    ),
    "addbmm": (
        lambda x, weight: torch.addbmm(torch.ones(1), x, weight),
        (LENGTH, WIDTH, 5),
        LENGTH * BATCH * WIDTH * 5,
    ),
    "addmm in place": (
        added_in_place,
        (WIDTH, 5),
        LENGTH * BATCH * WIDTH * 5,
    ),
    "baddbmm in place": (
        lambda x, weight: torch.ones(LENGTH, BATCH, 5).baddbmm_(x, weight),
        (LENGTH, WIDTH, 5),
        LENGTH * BATCH * WIDTH * 5,
    ),
    "groups": (in_groups, (2, 8, 16), LENGTH * BATCH * 8 * 16),
    "attention": (
        in_a_step_of_attention,
        (BATCH, WIDTH),
        LENGTH * 2 * BATCH * BATCH * WIDTH,
    ),
}


def counted(tmp_path, module):
    with torch.no_grad():
        traced = torch.jit.trace(module, torch.rand(SIZE), check_trace=False)
    return TorchScriptModel.open(write(tmp_path, traced)).count({"x": SIZE})


@pytest.mark.parametrize("name", CASES)
def test_an_operator_with_a_stored_weight_is_counted(tmp_path, name):
    compute, shape, macs = CASES[name]
    count = counted(tmp_path, OneOperator(compute, *shape))
    assert count.macs == macs
    assert count.unaccounted == ()


def test_a_lookup_and_elementwise_arithmetic_leave_no_gap(tmp_path):
    def compute(x, weight):
        picked = nn.functional.embedding(x.long().flatten(), weight)
        return torch.cat([picked * weight[:1], weight]).mean()

    assert counted(tmp_path, OneOperator(compute, 9, WIDTH)).unaccounted == ()


def test_a_stack_of_weights_is_named_as_the_reason(tmp_path):
    count = counted(tmp_path, OneOperator(torch.matmul, LENGTH, WIDTH, 5))
    assert [site.reason for site in count.sites] == [NO_MATRIX]


def test_arithmetic_on_a_stored_matrix_without_a_product_leaves_no_gap(tmp_path):
    def compute(x, weight):
        spread = torch.linalg.vector_norm(weight) + torch.renorm(weight, 2, 0, 1.0)
        filled = weight.masked_fill(weight > 0, 2.0) + torch.addr(
            weight, x[0, 0], x[0, 1]
        )
        return torch.complex(spread, filled).real + torch.dist(weight, spread)

    count = counted(tmp_path, OneOperator(compute, WIDTH, WIDTH))
    assert (count.macs, count.unaccounted) == (0, ())


def test_a_solver_leaves_a_gap_whatever_it_solves_for(tmp_path):
    def compute(x, weight):
        return torch.linalg.solve_triangular(weight.triu(), x[0].t(), upper=True)

    count = counted(tmp_path, OneOperator(compute, WIDTH, WIDTH))
    (gap,) = count.unaccounted
    assert gap.name == gap.operator == "linalg_solve_triangular"


def test_a_weight_in_an_operator_without_a_rule_makes_the_account_incomplete(tmp_path):
    def compute(x, weight):
        return x.unsqueeze(2) + torch.linalg.inv(weight)

    count = counted(tmp_path, OneOperator(compute, WIDTH, WIDTH))
    (gap,) = count.unaccounted
    assert (gap.name, gap.operator, gap.reason) == ("weight", "linalg_inv_ex", NO_RULE)


def test_attention_of_several_heads_is_four_layers_around_two_products():
    query, key = torch.zeros(2, 5, 8), torch.zeros(2, 7, 8)
    in_weight, out_weight = torch.zeros(24, 8), torch.zeros(8, 8)
    arguments = (query, key, key, 8, 2, in_weight, torch.zeros(24), out_weight)
    layers = (10 + 14 + 14 + 10) * 8 * 8
    products = 2 * (2 * 5 * 7 * 8)
    rule = RULES[torch.ops.aten._native_multi_head_attention]
    assert rule(arguments, None) == layers + products


def test_an_encoder_adds_two_layers_to_the_attention_of_its_input():
    source = torch.zeros(2, 5, 8)
    attention = [source, 8, 2, torch.zeros(24, 8), torch.zeros(24), torch.zeros(8, 8)]
    first, second = torch.zeros(16, 8), torch.zeros(8, 16)
    arguments = [*attention, *[None] * 8, first, None, second, None]
    own = 4 * 10 * 8 * 8 + 2 * (2 * 5 * 5 * 8)
    rule = RULES[torch.ops.aten._transformer_encoder_layer_fwd]
    assert rule(arguments, None) == own + 10 * 2 * 8 * 16


def test_distances_of_all_pairs_sum_over_the_coordinates():
    points = torch.zeros(6, 4)
    rule = RULES[torch.ops.aten._pdist_forward]
    assert rule((points, 2.0), torch.pdist(points)) == 15 * 4


@pytest.mark.parametrize(
    ("operator", "has_none"),
    [("mul", True), ("copy_", True), ("embedding", True), ("mm", False)],
)
def test_operators_without_products_are_known_by_tag_or_name(operator, has_none):
    overload = next(iter(getattr(torch.ops.aten, operator).overloads()))
    each = getattr(getattr(torch.ops.aten, operator), overload)
    assert has_no_products(each) == has_none


def test_a_solver_is_known_by_its_name():
    assert is_solver("linalg_lstsq")
    assert not is_solver("mm")
