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
    timed,
)

from convpress.budgets import FLOPS, LATENCY
from convpress.refusal import Code, Refusal
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.objective import FixedRank, Objective, choose


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


def of_time(allowed):
    return objective_of(FLOPS, allowed, times_decide=False, keeps_time=True)


def test_the_sites_together_become_no_slower_where_the_budget_allows_it():
    analysis = timed(QUICK, SLOW)
    blind = objective_of(FLOPS, 600, times_decide=False)
    assert choose(analysis, blind) == [SLOW]
    assert choose(analysis, of_time(600)) == [QUICK]
    assert choose(timed(SLOW), of_time(600)) == [SLOW]


def test_a_single_site_may_become_slower_where_all_together_do_not():
    analysis = timed(QUICK, SLOW)
    (site,) = analysis.candidates
    other = replace(site, site=replace(site.site, name="b"))
    both = replace(analysis, candidates=(site, other), weights={"a": 0.5, "b": 5.0})
    budget = BoundBudget(FLOPS.parse("50%"), 2000, 1000, 2000)
    kept = Objective((budget,), times_decide=False, keeps_time=True)
    assert choose(both, kept) == [QUICK, QUICK]
    slight = replace(SLOW, nanoseconds=150)
    slightly = replace(other, candidates=(ORIGINAL, QUICK, slight))
    assert choose(replace(both, candidates=(site, slightly)), kept) == [QUICK, slight]


def test_what_has_no_price_counts_as_fast_as_its_site():
    assert choose(timed(UNPRICED), of_time(600)) == [UNPRICED]
    unpriced = replace(ORIGINAL, nanoseconds=None)
    analysis = timed(SLOW)
    (site,) = analysis.candidates
    without_price = replace(site, candidates=(unpriced, SLOW))
    other = replace(site, site=replace(site.site, name="b"))
    both = replace(
        analysis, candidates=(without_price, other), weights={"a": 1.0, "b": 1.0}
    )
    budget = BoundBudget(FLOPS.parse("80%"), 2000, 1600, 2000)
    kept = Objective((budget,), times_decide=False, keeps_time=True)
    assert choose(both, kept) == [SLOW, ORIGINAL]


def test_every_execution_path_keeps_its_time():
    paths = ((1000, 0), (0, 1000))
    sites = []
    for name, own in zip("ab", paths, strict=True):
        (site,) = timed(QUICK, SLOW, paths=own).candidates
        sites.append(replace(site, site=replace(site.site, name=name)))
    both = replace(timed(QUICK), candidates=tuple(sites), weights={"a": 1, "b": 1})
    assert choose(both, of_time(600)) == [QUICK, QUICK]


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
