"""Objectives: what may be chosen under a cost table, and what is chosen at one rank."""

from dataclasses import replace

import pytest
from support.engine.analyses import (
    ORIGINAL,
    QUICK,
    SLOW,
    UNPRICED,
    analysed,
    objective_of,
)

from convpress.budgets import FLOPS, LATENCY
from convpress.refusal import Code, Refusal
from worker.engine.selection.objective import FixedRank, choose


@pytest.mark.parametrize(
    ("objective", "admitted"),
    [
        (objective_of(FLOPS, 600), {"quick", "unpriced"}),
        (objective_of(FLOPS, 600, at_any_price=True), {"quick", "slow", "unpriced"}),
        (objective_of(LATENCY, 60, 100), {"quick"}),
    ],
)
def test_a_site_becomes_no_slower_unless_flops_count_at_any_price(objective, admitted):
    named = {"quick": QUICK, "slow": SLOW, "unpriced": UNPRICED}
    assert {
        name for name, each in named.items() if objective.admits(each, ORIGINAL)
    } == admitted


def test_the_nearest_candidate_within_the_budget_is_chosen():
    analysis = analysed(QUICK, SLOW)
    assert choose(analysis, objective_of(FLOPS, 600, at_any_price=True)) == [SLOW]
    assert choose(analysis, objective_of(FLOPS, 450)) == [QUICK]
    assert choose(analysis, objective_of(FLOPS, 1000)) == [ORIGINAL]


def test_a_fixed_rank_takes_the_last_candidate():
    assert choose(analysed(QUICK), FixedRank("dac", 1)) == [QUICK]


def test_a_budget_below_the_cheapest_candidate_is_refused_with_the_least():
    with pytest.raises(Refusal) as refused:
        choose(analysed(QUICK), objective_of(FLOPS, 300))
    assert refused.value.code == Code.BUDGET_UNREACHABLE
    assert refused.value.field == "flops_budget"
    assert refused.value.expected == "at least 0.4000, or 800 FLOPs"


@pytest.mark.parametrize(("nanoseconds", "index"), [(80, 1), (120, 0)])
def test_int8_alone_factors_no_site_that_it_makes_slower(nanoseconds, index):
    whole = replace(ORIGINAL, nanoseconds=nanoseconds, quantised=True)
    factored = replace(QUICK, quantised=True)
    candidates = [ORIGINAL, whole, factored]
    objective = objective_of(FLOPS, 1000, times_decide=True, int8_only=True)
    assert choose(analysed(whole, factored), objective) == [candidates[index]]
