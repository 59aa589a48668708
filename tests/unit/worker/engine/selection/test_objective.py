"""Objectives: what may be chosen under a cost table, and what is chosen at one rank."""

import pytest

from convpress.budgets import FLOPS, LATENCY
from convpress.refusal import Code, Refusal
from worker.engine.decompose.dac import dac
from worker.engine.model import Call, Site
from worker.engine.numerics.convolution import Convolution
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.candidates import Candidate, SiteCandidates
from worker.engine.selection.frontier import frontier
from worker.engine.selection.input_statistics import Uncalibrated
from worker.engine.selection.objective import FixedRank, Objective, choose

GEOMETRY = Convolution((8, 4, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
(FORM,) = dac(GEOMETRY)
ORIGINAL = Candidate(1000, 288, 0.0, nanoseconds=100)
QUICK = Candidate(400, 100, 0.3, FORM, 1, nanoseconds=50)
SLOW = Candidate(500, 150, 0.1, FORM, 2, nanoseconds=200)
UNPRICED = Candidate(450, 120, 0.2, FORM, 3)


def analysed(*candidates, paths=()):
    site = Site("a", "Conv", (8, 4, 3, 3), 1000, GEOMETRY, (Call(1, (8, 8)),), None, 4, paths)
    each = SiteCandidates(site, (ORIGINAL, *candidates), None)
    return Analysis((each,), {"a": 0.5}, Uncalibrated("the request turns it off"))


def of(kind, allowed, total=1000, **options):
    return Objective((BoundBudget(kind.parse("50%"), total, allowed),), **options)


@pytest.mark.parametrize(
    ("objective", "admitted"),
    [
        (of(FLOPS, 600), {"quick", "unpriced"}),
        (of(FLOPS, 600, at_any_price=True), {"quick", "slow", "unpriced"}),
        (of(LATENCY, 60, 100), {"quick"}),
    ],
)
def test_a_site_becomes_no_slower_unless_flops_count_at_any_price(objective, admitted):
    named = {"quick": QUICK, "slow": SLOW, "unpriced": UNPRICED}
    assert {name for name, each in named.items() if objective.admits(each, ORIGINAL)} == admitted


def test_the_nearest_candidate_within_the_budget_is_chosen():
    analysis = analysed(QUICK, SLOW)
    assert choose(analysis, of(FLOPS, 600, at_any_price=True)) == [SLOW]
    assert choose(analysis, of(FLOPS, 450)) == [QUICK]
    assert choose(analysis, of(FLOPS, 1000)) == [ORIGINAL]


def test_a_fixed_rank_takes_the_last_candidate():
    assert choose(analysed(QUICK), FixedRank("dac", 1)) == [QUICK]


def test_a_budget_below_the_cheapest_candidate_is_refused_with_the_least():
    with pytest.raises(Refusal) as refused:
        choose(analysed(QUICK), of(FLOPS, 300))
    assert (refused.value.code, refused.value.field) == (Code.BUDGET_UNREACHABLE, "flops_budget")
    assert refused.value.expected == "at least 0.4000, or 800 FLOPs"


def test_the_frontier_goes_from_the_least_to_the_original():
    points = frontier(analysed(QUICK, SLOW), of(FLOPS, 600, at_any_price=True))
    assert [(point.macs, point.error) for point in points] == [(400, 0.15), (500, 0.05), (1000, 0)]
    assert points[-1].share == 1


def test_what_a_file_holds_beyond_weights_counts_for_factored_sites_alone():
    site = analysed(QUICK).sites[0]
    budget = BoundBudget(FLOPS.parse("50%"), 1000, 500, overhead=7)
    assert budget.costs(site, QUICK) == (407,)
    assert budget.costs(site, ORIGINAL) == (1000,)
    assert budget.left_to([site], [ORIGINAL]) == 500
