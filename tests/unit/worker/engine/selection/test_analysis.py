"""An analysis: what a choice costs and loses."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.engine.analyses import GEOMETRY, ORIGINAL, QUICK, SLOW, analysed, timed

from worker.engine.decompose.channels import Channels
from worker.engine.model import CostProfile
from worker.engine.selection.analysis import UNCHANGED, unchanged_analysis
from worker.engine.selection.candidates import Candidate
from worker.engine.selection.input_statistics import Uncalibrated


def twice(analysis, **changes):
    """Return an analysis with a second site, of the name `b`."""
    (each,) = analysis.candidates
    other = replace(each, site=replace(each.site, name="b", **changes))
    return replace(analysis, candidates=(each, other))


def test_a_choice_costs_the_sum_of_its_sites():
    analysis = twice(timed(QUICK, SLOW))
    assert (analysis.macs, analysis.nanoseconds) == (2000, 200)
    assert analysis.macs_of([QUICK, ORIGINAL]) == 1400
    assert analysis.nanoseconds_of([QUICK, SLOW]) == 250
    assert [site.name for site in analysis.sites] == ["a", "b"]


def test_of_two_execution_paths_the_dearer_counts():
    analysis = twice(analysed(QUICK, paths=(1000, 0)), execution_paths=(0, 1000))
    assert analysis.macs == 1000
    assert analysis.macs_of([QUICK, ORIGINAL]) == 1000
    assert analysis.macs_of([QUICK, QUICK]) == 400


def test_without_a_table_there_is_no_time():
    assert analysed(QUICK).nanoseconds is None


def test_errors_are_weighted_by_the_site_and_add_up():
    analysis = twice(analysed(QUICK, SLOW))
    quantised = replace(QUICK, int8_error=0.25)
    (site, other) = analysis.sites
    assert analysis.weighted_error(site, quantised) == 0.5 * QUICK.error + 0.25
    # a site without a weight counts in full
    assert analysis.weighted_error(other, SLOW) == SLOW.error
    predicted = analysis.predicted_error([quantised, SLOW])
    assert predicted == pytest.approx(0.5 * 0.3 + 0.25 + 0.1)


def test_a_rule_needs_the_format():
    analysis = analysed(QUICK)
    (site,) = analysis.sites
    assert not analysis.is_slower_by_rule(site, QUICK)


def test_an_analysis_without_paths_keeps_all_channels():
    fewer = Candidate(100, 10, 0.2, Channels.of(GEOMETRY), 2)
    analysis = replace(analysed(QUICK, fewer), paths={"a": SimpleNamespace()})
    whole = analysis.without_paths()
    assert whole.paths == {}
    assert whole.candidates[0].candidates == (ORIGINAL, QUICK)
    assert whole.without_paths() is whole


def test_a_model_that_stays_has_its_originals_alone():
    profile = CostProfile(tuple(analysed().sites), {})
    analysis = unchanged_analysis(profile)
    assert analysis.calibration == Uncalibrated(UNCHANGED)
    (each,) = analysis.candidates
    assert (each.reason, len(each.candidates)) == (UNCHANGED, 1)
    assert analysis.without_moments().calibration == Uncalibrated(UNCHANGED)
