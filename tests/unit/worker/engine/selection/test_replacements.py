"""The layers of a choice, by weights alone."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from support.engine.analyses import FORM, GEOMETRY, ORIGINAL, QUICK, analysed

from worker.engine.numerics.convolution import Layer
from worker.engine.selection.candidates import Candidate, target_of
from worker.engine.selection.channels.narrowed import Narrowed
from worker.engine.selection.replacements import factor, refit_replacements

LAYER = Layer(GEOMETRY, np.random.default_rng(0).standard_normal((8, 4, 3, 3)), None)
MODEL = SimpleNamespace(layer=lambda site: LAYER)


def test_factored_sites_get_the_layers_of_their_candidate():
    replacements = factor(MODEL, analysed(QUICK), [QUICK])
    assert list(replacements) == ["a"]
    expected = FORM.layers(target_of(LAYER, None), 1)
    for layer, other in zip(replacements["a"], expected, strict=True):
        np.testing.assert_array_equal(layer.weight, other.weight)


def test_the_share_of_the_work_is_told_before_each_site():
    analysis = analysed(QUICK)
    twice = replace(analysis, candidates=analysis.candidates * 2)
    shares = []
    factor(MODEL, twice, [QUICK, QUICK], shares.append)
    assert shares == [0.0, 0.5]


def test_sites_that_stay_get_none():
    narrowed = Candidate(10, 10, 0.0, Narrowed.of(GEOMETRY, None, 4), 4)
    for candidate in (ORIGINAL, narrowed):
        assert factor(MODEL, analysed(candidate), [candidate]) == {}


def test_a_narrowed_form_has_the_layers_of_its_inner_one():
    narrowed = Candidate(10, 10, 0.1, Narrowed.of(GEOMETRY, FORM, 4), 1)
    assert list(factor(MODEL, analysed(narrowed), [narrowed])) == ["a"]


def test_without_a_calibration_nothing_is_refitted():
    replacements = factor(MODEL, analysed(QUICK), [QUICK])
    refitted, choice = refit_replacements(MODEL, analysed(QUICK), [QUICK], replacements)
    assert refitted is replacements
    assert choice is None
