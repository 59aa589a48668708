"""The planned layers: each is of the kind whose grid it is measured for."""

import itertools

import pytest

from worker.engine.costs.kinds import channels, earlier_kind, kind_of, positions
from worker.engine.costs.plans import PLANS, added_plans, int8_plans


@pytest.mark.parametrize("kind", PLANS)
def test_every_planned_layer_is_of_its_kind_and_of_its_sizes(kind):
    plan = PLANS[kind]
    for c, n in itertools.product(plan.inputs, plan.outputs):
        layer = plan.layer(c, n)
        # layers in int8 have no grid of few channels: a ragged one stands for it
        own = kind_of(layer, 16)
        assert kind in (own, earlier_kind(own))
        assert channels(layer) == (c, n)
    counts = [positions(layer, *plan.size(side)) for side in plan.sides]
    assert sorted(set(counts)) == counts


def test_a_transposed_layer_doubles_its_input():
    for kind in ("transposed 2x2", "transposed 3x3", "transposed 4x4"):
        assert PLANS[kind].layer(8, 8).output_size((7, 7)) == (14, 14)


def test_layers_in_int8_and_layers_that_add_have_names_of_their_own():
    assert {"int8 3x3", "int8 linear"} < int8_plans(PLANS).keys()
    assert added_plans(PLANS).keys() == {"added 1x1"}
