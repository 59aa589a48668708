"""Candidates in int8: a quarter of the bytes, a time of their own, and the loss of each layer."""

from dataclasses import replace

from support.costs import cost_table

from worker.engine.costs.grid import Grid
from worker.engine.formats.onnx.int8.layers import why_not_int8
from worker.engine.model import Call, Site
from worker.engine.numerics.convolution import Convolution
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.candidates import Candidate, SiteCandidates
from worker.engine.selection.enumeration import factorisations
from worker.engine.selection.input_statistics import Uncalibrated
from worker.engine.selection.int8_candidates import with_int8
from worker.engine.selection.units import UNITS

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


def test_time_is_that_of_the_layers_in_int8_or_unknown():
    table = cost_table(layer_ns=0.0)
    [site] = with_int8(analysed(table), {"s": 0.1}, why_not_int8).candidates
    assert [each.nanoseconds for each in site.candidates if each.quantised] == [None, None]
    grid = Grid((1,), (1,), (1,), (((0.25,),),))
    table = replace(table, grids={**table.grids, "int8 3x3": grid})
    [site] = with_int8(analysed(table), {"s": 0.1}, why_not_int8).candidates
    whole, spatial = [each.nanoseconds for each in site.candidates if each.quantised]
    assert (whole, spatial) == (SITE.macs // 4, None)
