"""Programs that drop values or change their statistics are refused."""

import pytest
import torch
from torch.fx import Graph

from convpress.refusal import Code, Refusal
from worker.engine.formats.pt2.training import is_idle_dropout, require_evaluation

ATEN = torch.ops.aten


def node(operator, *args):
    graph = Graph()
    x = graph.placeholder("x")
    return graph.call_function(
        operator, tuple(x if each is ... else each for each in args)
    )


STATISTICS = (..., None, None, ..., ...)


@pytest.mark.parametrize(
    ("each", "trains"),
    [
        (node(ATEN.dropout.default, ..., 0.5, True), True),
        (node(ATEN.dropout.default, ..., 0.5, False), False),
        (node(ATEN.native_dropout.default, ..., 0.5, True), True),
        (node(ATEN.batch_norm.default, *STATISTICS, True, 0.1, 1e-5, False), True),
        (node(ATEN.batch_norm.default, *STATISTICS, False, 0.1, 1e-5, False), False),
        # without stored statistics there are none to change
        (
            node(
                ATEN.batch_norm.default,
                ...,
                None,
                None,
                None,
                None,
                True,
                0.1,
                1e-5,
                False,
            ),
            False,
        ),
        (node(ATEN.instance_norm.default, *STATISTICS, True, 0.1, 1e-5, False), False),
        (node(ATEN.relu.default, ...), False),
    ],
)
def test_a_program_computes_the_same_at_every_run(each, trains):
    if not trains:
        require_evaluation([each])
        return
    with pytest.raises(Refusal, match=r"call model\.eval\(\) before") as refused:
        require_evaluation([each])
    assert refused.value.code == Code.MODEL_UNSUPPORTED


@pytest.mark.parametrize(
    ("each", "is_idle"),
    [
        (node(ATEN.dropout_.default, ..., 0.5, False), True),
        (node(ATEN.dropout.default, ..., 0.5, True), False),
        (node(ATEN.native_dropout.default, ..., 0.5, False), False),
        (node(ATEN.relu.default, ...), False),
    ],
)
def test_a_dropout_that_drops_nothing_passes_its_data_on(each, is_idle):
    assert is_idle_dropout(each) == is_idle
