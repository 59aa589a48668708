"""Refusals of budgets, with the least that can be reached."""

from dataclasses import replace

import pytest
from support.engine.analyses import ORIGINAL, QUICK, analysed, timed

from convpress.budgets import FLOPS, KINDS, LATENCY
from convpress.refusal import Code
from worker.engine.model import QUANTISED
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.unreachable import (
    all_together,
    least_reaching,
    one_budget,
)

# half of a model whose sites cost 1000 of its 1500
BUDGET = BoundBudget(FLOPS.parse("50%"), 1500, 750, 1500)


def refusal(analysis=None, budget=BUDGET, slower_excluded=False):
    analysis = analysed(QUICK) if analysis is None else analysis
    return one_budget(analysis, budget, 400, slower_excluded=slower_excluded)


def test_the_least_is_that_of_the_whole_model():
    refused = refusal()
    assert (refused.code, refused.field) == (Code.BUDGET_UNREACHABLE, "flops_budget")
    # the sites at 400, and 500 beside them
    assert refused.expected == "at least 0.6000, or 1800 FLOPs"
    assert refused.got == "0.5000, or 1500 FLOPs"
    assert "0.6000 of its" in refused.detail


def test_of_several_ways_the_one_that_reaches_least_refuses():
    analysis = analysed(QUICK)
    more, less = (
        one_budget(analysis, BUDGET, least, slower_excluded=False)
        for least in (400, 300)
    )
    together = all_together([BUDGET])
    assert least_reaching([more, less]) is less
    assert least_reaching([less, more, together]) is less
    assert least_reaching([together, less]) is together


@pytest.mark.parametrize(
    ("kind", "slower_excluded", "words"),
    [
        (FLOPS, True, "flops_at_any_price would allow"),
        (LATENCY, True, "by the cost table"),
        (FLOPS, False, "smallest reachable budget"),
    ],
)
def test_the_condition_is_named(kind, slower_excluded, words):
    budget = replace(BUDGET, budget=kind.parse("50%"))
    refused = refusal(timed(QUICK), budget, slower_excluded)
    assert words in refused.detail
    assert ("without a layer" in refused.detail) == (kind is FLOPS and slower_excluded)


def test_layers_that_stay_are_counted_by_their_reasons():
    (each,) = analysed(QUICK).candidates
    reasons = [
        "is small",
        "is odd",
        "is odd",
        QUANTISED,
        QUANTISED,
        QUANTISED,
        "is new",
    ]
    stay = [replace(each, candidates=(ORIGINAL,), reason=reason) for reason in reasons]
    analysis = replace(analysed(QUICK), candidates=(each, *stay))
    detail = refusal(analysis).detail
    assert "of 8 layers 7 stay as they are" in detail
    assert f"3 because {QUANTISED}; 2 because is odd; 1 because is small" in detail
    assert "is new" not in detail
    assert "before its quantisation" in detail


def test_budgets_that_exclude_each_other_are_listed():
    other = replace(BUDGET, budget=KINDS["bytes_budget"].parse("1MB"))
    refused = all_together([BUDGET, other])
    assert refused.got == "flops_budget=50%, bytes_budget=1MB"
    assert refused.field == "bytes_budget"
