"""Candidates in int8: a quarter of the bytes, a time of their own, and the loss of each layer."""

from dataclasses import replace

import pytest
from support.engine.costs import cost_table

from convpress.budgets import BYTES
from worker.engine.costs.grid import Grid
from worker.engine.costs.int8_prices import in_blocks
from worker.engine.costs.kinds import CONVERSION
from worker.engine.formats.onnx.int8.layers import why_not_int8
from worker.engine.model import Call, Site
from worker.engine.numerics.convolution import Convolution
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.candidates import Candidate, SiteCandidates
from worker.engine.selection.enumeration import factorisations
from worker.engine.selection.input_statistics import Uncalibrated
from worker.engine.selection.int8_candidates import (
    candidate_in_int8,
    int8_alone,
    originals_in_int8,
    with_int8,
)
from worker.engine.selection.objective import Objective
from worker.engine.selection.units import UNITS
from worker.engine.stages.int8_plan import _is_int8_alone_better

CONVOLUTION = Convolution((16, 16, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
SITE = Site("s", "Conv", (16, 16, 3, 3), 100 * 2304, CONVOLUTION, (Call(1, (10, 10)),))


def analysed(table=None):
    by_form = {each.form: each for each in factorisations(SITE)}
    candidates = [Candidate(SITE.macs, 2304, 0.0)]
    candidates.append(Candidate(1000, 500, 0.25, by_form["spatial"], 4))
    candidates.append(Candidate(1000, 500, 0.25, by_form["dac"], 4))
    sites = (SiteCandidates(SITE, tuple(candidates), None),)
    return Analysis(sites, {"s": 0.5}, Uncalibrated("a test"), table)


def test_dense_forms_are_there_in_int8_and_others_are_not():
    analysis = with_int8(analysed(), {"s": 0.1}, why_not_int8)
    in_int8 = [each for each in analysis.candidates[0].candidates if each.quantised]
    assert [each.form for each in in_int8] == ["original", "spatial"]
    # the square of the loss, once for each layer, beside the weighted error of the form
    errors = [analysis.weighted_error(SITE, each) for each in in_int8]
    assert errors == [0.1**2, 0.25 * 0.5 + 2 * 0.1**2]
    assert [UNITS["bytes"].cost(SITE, each) for each in in_int8] == [2304, 500]
    assert UNITS["bytes"].cost(SITE, analysis.candidates[0].original) == 4 * 2304
    assert analysis.candidates[0].original.is_original
    assert not in_int8[0].is_original


def test_a_site_without_a_loss_stays_in_float():
    analysis = with_int8(analysed(), {"other": 0.1}, why_not_int8)
    assert not any(each.quantised for each in analysis.candidates[0].candidates)


def with_grids(table, **rates):
    grids = {
        kind: Grid((1,), (1,), (1,), (((rate,),),)) for kind, rate in rates.items()
    }
    return replace(table, grids={**table.grids, **grids})


def test_one_precision_pays_for_the_conversions_between_both():
    table = with_grids(cost_table(layer_ns=0.0), **{"int8 3x3": 0.25, CONVERSION: 2.0})
    numbers = 16 * 100  # of the site's inputs, and as many of its outputs
    for int8_converts in (False, True):
        analysis = with_int8(
            analysed(table), {"s": 0.1}, why_not_int8, int8_converts=int8_converts
        )
        for each in analysis.candidates[0].candidates:
            paid = 2 * numbers if each.quantised == int8_converts else 0
            assert each.conversion == paid
            assert each.time is None or each.time == each.nanoseconds + paid
        assert analysis.originals[0].conversion == 0
        assert analysis.candidates[0].candidates[0].time is None
    assert (
        with_int8(analysed(), {"s": 0.1}, why_not_int8).candidates[0].candidates[0].time
        is None
    )


def test_outputs_cost_as_whole_blocks_in_int8():
    table = with_grids(cost_table(layer_ns=0.0), **{"int8 3x3": 1.0})
    narrow = Convolution((4, 16, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    site = Site("n", "Conv", (4, 16, 3, 3), 100 * 576, narrow, (Call(1, (10, 10)),))
    in_int8 = candidate_in_int8(site, Candidate(site.macs, 576, 0.0), 0.0, table)
    assert in_int8.nanoseconds == 4 * site.macs
    depthwise = Convolution((16, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), groups=16)
    assert in_blocks(depthwise) == depthwise
    assert in_blocks(CONVOLUTION) == CONVOLUTION


def test_int8_alone_factors_nothing_and_leaves_what_int8_does_not_apply_to():
    analysis = with_int8(analysed(), {"s": 0.1}, why_not_int8)
    [own] = int8_alone(analysis)
    assert (own.quantised, own.form) == (True, "original")
    [left] = int8_alone(with_int8(analysed(), {}, why_not_int8))
    assert left.is_original


@pytest.mark.parametrize(("share", "gives_way"), [("0.9", True), ("0.1", False)])
def test_a_choice_in_float_gives_way_where_int8_alone_meets_the_budget(
    share, gives_way
):
    analysis = with_int8(analysed(), {"s": 0.1}, why_not_int8)
    budget = BYTES.parse(share)
    total = 4 * 2304
    bound = BoundBudget(budget, total, budget.of(total), total)
    in_float = analysis.candidates[0].candidates[1]
    assert not in_float.quantised
    alone_is_better = _is_int8_alone_better(
        analysis, analysis, [in_float], Objective((bound,))
    )
    assert alone_is_better == gives_way


@pytest.mark.parametrize(("error", "gives_way"), [(0.25, True), (0.001, False)])
def test_a_faster_choice_gives_way_where_it_loses_more_than_int8_alone(
    error, gives_way
):
    table = with_grids(cost_table(layer_ns=0.0), **{"int8 3x3": 0.25})
    analysis = with_int8(analysed(table), {"s": 0.1}, why_not_int8)
    total = 4 * 2304
    bound = BoundBudget(BYTES.parse("0.9"), total, total, total)
    in_float = replace(analysis.candidates[0].candidates[1], error=error, nanoseconds=1)
    alone_is_better = _is_int8_alone_better(
        analysis, analysis, [in_float], Objective((bound,))
    )
    assert alone_is_better == gives_way


def test_the_sites_as_they_are_have_the_price_of_int8_where_there_is_one():
    table = with_grids(cost_table(layer_ns=0.0), **{"int8 3x3": 0.25})
    [own] = originals_in_int8(analysed(table), why_not_int8)
    assert (own.quantised, own.nanoseconds) == (True, SITE.macs // 4)
    [unpriced] = originals_in_int8(analysed(cost_table()), why_not_int8)
    assert not unpriced.quantised


def test_time_is_that_of_the_layers_in_int8_or_unknown():
    table = cost_table(layer_ns=0.0)
    [site] = with_int8(analysed(table), {"s": 0.1}, why_not_int8).candidates
    assert [each.nanoseconds for each in site.candidates if each.quantised] == [
        None,
        None,
    ]
    table = with_grids(table, **{"int8 3x3": 0.25})
    [site] = with_int8(analysed(table), {"s": 0.1}, why_not_int8).candidates
    whole, spatial = [each.nanoseconds for each in site.candidates if each.quantised]
    assert (whole, spatial) == (SITE.macs // 4, None)
