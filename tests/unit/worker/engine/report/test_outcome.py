"""The outcome of a choice as a report has it."""

from dataclasses import replace

import pytest
from support.engine.analyses import (
    GEOMETRY,
    ORIGINAL,
    QUICK,
    SLOW,
    analysed,
    objective_of,
    timed,
)

from convpress import report as records
from convpress.budgets import FLOPS
from worker.engine.decompose.forms.tucker2 import tucker2
from worker.engine.model import NO_ROWS
from worker.engine.report import outcome
from worker.engine.selection.candidates import Candidate
from worker.engine.selection.frontier import FrontierPoint
from worker.engine.selection.objective import FixedRank

GOAL = objective_of(FLOPS, 500)


def predicted(before, after):
    return records.Latency(
        predicted_before_ms=before,
        predicted_after_ms=after,
        unpriced_sites=0,
        runtime="",
        host="",
        table_sha256="",
    )


def test_a_budget_has_its_text_and_its_amount():
    members = outcome.budget(GOAL, None, unchanged=False)
    assert members == {"note": None, "flops_budget": "50%", "macs": 500, "flops": 1000}
    fixed = outcome.budget(FixedRank("dac", 3), None, unchanged=False)
    assert fixed == {"form": "dac", "rank": 3}


@pytest.mark.parametrize(
    ("keeps_time", "before", "after", "note"),
    [
        (False, 2.0, 3.0, "1.50 times as long as those of the model"),
        (True, 2.0, 3.0, "no choice is known that meets flops_budget=50%"),
        (True, 2.0, 2.0, None),
        (True, None, 2.0, None),
    ],
)
def test_a_note_says_where_the_artifact_is_slower(keeps_time, before, after, note):
    goal = replace(GOAL, keeps_time=keeps_time)
    text = outcome.budget(goal, predicted(before, after), unchanged=False)["note"]
    assert text is None if note is None else note in text


def test_a_note_says_that_nothing_was_compressed():
    note = outcome.budget(GOAL, None, unchanged=True)["note"]
    assert "flops_budget=50% allows all of its 2000 FLOPs" in note


def row(candidate, analysis=None, target="torchscript"):
    (each,) = (analysis or timed(QUICK, SLOW)).candidates
    return outcome.site(each, candidate, target)


def test_a_factored_site_has_the_layers_of_its_form():
    site = row(QUICK)
    assert (site.form, site.rank, site.branches) == ("dac", 1, 1)
    expected = [list(layer.weight_shape) for layer in QUICK.convolutions]
    assert site.layers == expected
    assert (site.macs_before, site.macs_after) == (1000, 400)
    assert (site.ms_before, site.ms_after) == (0.0001, 0.00005)
    assert site.reason is None
    (form,) = tucker2(GEOMETRY)
    assert row(Candidate(1, 1, 0.1, form, (2, 3))).rank == [2, 3]


def test_a_site_that_stays_has_a_reason():
    assert row(ORIGINAL).reason == "the budget is met without factoring it"
    (each,) = analysed().candidates
    stays = replace(analysed(), candidates=(replace(each, reason="a reason"),))
    assert row(ORIGINAL, stays).reason == "a reason"
    idle = replace(each, site=replace(each.site, macs=0))
    without_rows = replace(analysed(), candidates=(idle,))
    assert row(ORIGINAL, without_rows).reason == NO_ROWS


def test_points_are_shares_of_the_original():
    points = [FrontierPoint(500, 50, 0.5, 0.1), FrontierPoint(1000, None, 1.0, 0.0)]
    first, last = outcome.points(points, timed(QUICK))
    assert (first.keep, first.latency_keep, first.budget_keep) == (0.5, 0.5, 0.5)
    assert (last.keep, last.latency_keep) == (1.0, None)


def test_a_latency_is_that_of_the_sites_with_a_price():
    analysis = timed(QUICK)
    record = outcome.latency(analysis.table, "", analysis, [QUICK])
    assert (record.predicted_before_ms, record.predicted_after_ms) == (0.0001, 0.00005)
    assert (record.unpriced_sites, record.table) == (0, "measured on a host")
    shipped = outcome.latency(analysis.table, "shipped", analysis, [QUICK])
    assert shipped.table == "shipped"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(2.0, 1.0, 1.5), (None, 1.0, None), (2.0, None, None)],
)
def test_the_artifact_is_expected_to_take_the_share_by_the_table(
    before, after, expected
):
    assert outcome.expected_ms(predicted(before, after), 3.0) == expected
