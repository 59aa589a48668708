"""Budgets of time by the cost table."""

from dataclasses import replace

import pytest
from support.engine.analyses import ORIGINAL, QUICK, UNPRICED, timed

from convpress.refusal import Code, Refusal
from worker.engine.selection.units.nanoseconds import Nanoseconds

UNIT = Nanoseconds()


def test_amounts_are_written_in_milliseconds():
    assert UNIT.text(1_500_000) == "1.5000 ms"
    assert UNIT.reported(1_500_000) == {"milliseconds": 1.5}


def test_the_original_costs_the_time_of_its_layers():
    assert UNIT.total(None, timed(QUICK).candidates) == ORIGINAL.nanoseconds
    assert UNIT.measured(None) is None


def test_a_model_without_priced_layers_is_refused():
    (each,) = timed(QUICK).candidates
    unpriced = replace(each, candidates=(replace(ORIGINAL, nanoseconds=None),))
    with pytest.raises(Refusal, match="none of the model's layers") as refused:
        UNIT.total(None, [unpriced])
    assert (refused.value.code, refused.value.got) == (
        Code.COST_TABLE_INVALID,
        "1 others",
    )


def test_a_candidate_costs_its_time_with_its_conversions_or_none():
    (site,) = timed(QUICK).sites
    assert UNIT.cost(site, replace(QUICK, conversion=7)) == 57
    assert UNIT.cost(site, UNPRICED) == 0
