"""The weights name phases, and the work to factor grows with a layer's weights."""

import pytest

from convpress.phases import PHASES
from worker.engine import phase_weights
from worker.engine.phase_weights import factoring_work


@pytest.mark.parametrize(
    "name", ["CALIBRATED", "BY_WEIGHTS", "CHOSEN", "CHOSEN_BY_WEIGHTS", "INT8_ALONE"]
)
def test_weights_are_those_of_phases_and_never_negative(name):
    weights = getattr(phase_weights, name)
    assert weights.keys() <= set(PHASES)
    assert all(weight >= 0 for weight in weights.values())


def test_a_layer_of_several_offsets_is_more_work_than_another_of_its_size():
    assert factoring_work((16, 8, 3, 3)) == 3 * factoring_work((16, 72))
    assert factoring_work((16, 8, 1, 1)) == factoring_work((16, 8))


def test_four_times_the_weights_are_twice_the_work_to_factor():
    assert factoring_work((16, 8, 3, 3)) == 2 * factoring_work((8, 4, 3, 3))
