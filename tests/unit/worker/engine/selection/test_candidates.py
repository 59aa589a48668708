"""Candidates of a site, and their costs and layers."""

from dataclasses import replace

import numpy as np
from support.engine.analyses import (
    FORM,
    GEOMETRY,
    ORIGINAL,
    QUICK,
    SLOW,
    UNPRICED,
    timed,
)

from worker.engine.numerics.convolution import Layer
from worker.engine.selection.candidates import (
    Candidate,
    SiteCandidates,
    target_of,
    total_nanoseconds,
)

LAYER = Layer(GEOMETRY, np.random.default_rng(0).standard_normal((8, 4, 3, 3)), None)


def test_the_original_has_no_layers_of_its_own():
    assert (ORIGINAL.form, ORIGINAL.variant) == ("original", None)
    assert ORIGINAL.is_original
    assert not replace(ORIGINAL, quantised=True).is_original
    assert ORIGINAL.convolutions == ()
    assert ORIGINAL.layers(LAYER) == (LAYER,)


def test_a_factorisation_has_those_of_its_rank():
    assert (QUICK.form, QUICK.is_original) == ("dac", False)
    assert QUICK.convolutions == FORM.convolutions(1)
    layers = QUICK.layers(LAYER)
    assert tuple(layer.convolution for layer in layers) == QUICK.convolutions
    expected = FORM.layers(target_of(LAYER, None), 1)
    for layer, other in zip(layers, expected, strict=True):
        np.testing.assert_array_equal(layer.weight, other.weight)


def test_conversions_take_time_where_there_is_a_price():
    assert replace(QUICK, conversion=5).time == 55
    assert replace(UNPRICED, conversion=5).time is None


def test_the_original_of_a_site_is_one_without_conversions():
    site = SiteCandidates(None, (replace(ORIGINAL, conversion=5), QUICK), None)
    assert site.original == ORIGINAL


def test_candidates_of_a_form_are_left_out():
    site = SiteCandidates(None, (ORIGINAL, QUICK, SLOW), None)
    assert site.without_form("dac").candidates == (ORIGINAL,)
    assert site.without_form("spatial") == site


def test_a_target_without_moments_is_that_of_the_weights():
    target = target_of(LAYER, None)
    assert target.covariance is None
    assert target.energy == (LAYER.weight**2).sum()


def test_the_time_of_a_choice_is_that_of_the_slowest_path():
    sites = []
    for paths in ((1000, 0), (500, 1000)):
        sites += timed(QUICK, SLOW, paths=paths).candidates
    assert total_nanoseconds(sites, [QUICK, SLOW]) == max(50 + 100, 200)
    assert total_nanoseconds(sites, [UNPRICED, Candidate(0, 0, 0.0)]) == 0
