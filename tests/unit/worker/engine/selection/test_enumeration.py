"""Candidates of a site: none costs nearly as much as the original, none beats another."""

from itertools import pairwise

import numpy as np
import pytest

from worker.engine.model import Call, Site
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments
from worker.engine.selection.candidates import ORIGINAL
from worker.engine.selection.enumeration import candidates_at_rank, candidates_of_forms


class OneLayer:
    """A model of one layer."""

    def __init__(self, convolution: Convolution) -> None:
        self._layer = Layer(
            convolution,
            np.random.default_rng(0).standard_normal(convolution.weight_shape),
            None,
        )

    def layer(self, site: Site) -> Layer:
        return self._layer


def site_of(convolution, reason=None):
    size = (12, 12)
    return Site(
        "conv",
        "Conv",
        convolution.weight_shape,
        convolution.macs(size),
        convolution,
        (Call(1, size),),
        reason,
    )


PLAIN = Convolution((16, 8, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
DEPTHWISE = Convolution((8, 1, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), groups=8)


def test_candidates_get_nearer_with_what_they_cost():
    site = site_of(PLAIN)
    original, *others = candidates_of_forms(OneLayer(PLAIN), site, None).candidates
    assert original.form == ORIGINAL
    assert original.macs == site.macs
    assert original.error == 0
    assert {candidate.form for candidate in others} >= {"dac", "grouped", "spatial"}
    assert all(
        cheap.macs < costly.macs and cheap.error > costly.error > 0
        for cheap, costly in pairwise(others)
    )
    assert others[-1].macs <= 0.9 * site.macs
    for candidate in others:
        assert site.macs_of(candidate.convolutions) == candidate.macs
        assert (
            sum(np.prod(each.weight_shape) for each in candidate.convolutions)
            == candidate.parameters
        )


def test_a_candidates_layers_follow_the_moments():
    rng = np.random.default_rng(1)
    root = rng.standard_normal((1, 72, 72))
    moments = Moments.of(rng.standard_normal((1, 72)), root @ root.swapaxes(1, 2))
    model = OneLayer(PLAIN)
    site = site_of(PLAIN)
    candidate = candidates_of_forms(model, site, "dac", moments).candidates[2]
    blind, fitted = (
        candidate.layers(model.layer(site), known) for known in (None, moments)
    )
    assert blind[-1].bias is None
    assert fitted[-1].bias is not None
    assert np.abs(blind[-1].weight - fitted[-1].weight).max() > 0.01


@pytest.mark.parametrize(
    ("form", "rank", "expected"),
    [
        ("dac", 3, 3),
        ("dac", 99, 9),
        ("grouped", 5, 5),
        ("spatial", 99, 24),
        ("tucker2", 4, (4, 4)),
        ("tucker2", 99, (8, 16)),
    ],
)
def test_one_rank_is_offered_where_it_exists_and_the_highest_where_it_does_not(
    form, rank, expected
):
    original, candidate = candidates_at_rank(
        OneLayer(PLAIN), site_of(PLAIN), form, rank
    ).candidates
    assert original.form == ORIGINAL
    assert candidate.form == form
    assert candidate.rank == expected
    assert (candidate.error == 0) == (rank == 99)


def test_of_two_orders_of_the_same_cost_the_nearer_is_taken():
    model = OneLayer(PLAIN)
    site = site_of(PLAIN)
    _, nearest = candidates_at_rank(model, site, "spatial", 6).candidates
    every = [
        c
        for c in candidates_of_forms(model, site, "spatial").candidates
        if c.macs == nearest.macs
    ]
    assert [candidate.error for candidate in every] == [nearest.error]


@pytest.mark.parametrize(
    ("convolution", "reason", "form", "expected"),
    [
        (PLAIN, "it lies inside a loop", None, "it lies inside a loop"),
        (PLAIN, None, "low-rank", "its kernel is larger than 1x1"),
        (
            Convolution((1, 1, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1)),
            None,
            "dac",
            "no rank costs markedly less",
        ),
    ],
)
def test_a_site_that_stays_has_the_reason(convolution, reason, form, expected):
    site_candidates = candidates_of_forms(
        OneLayer(convolution), site_of(convolution, reason), form
    )
    assert len(site_candidates.candidates) == 1
    assert expected in site_candidates.reason


def test_a_reason_that_forms_have_in_common_is_said_once():
    reason = candidates_of_forms(OneLayer(DEPTHWISE), site_of(DEPTHWISE), None).reason
    assert reason.count("no spatial extent") == 1
    assert "it is already depthwise" in reason


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("rank", [None, 3])
def test_a_layer_whose_weights_no_arithmetic_can_square_stays_as_it_is(value, rank):
    model = OneLayer(PLAIN)
    site = site_of(PLAIN)
    model.layer(site).weight[0, 0, 0, 0] = value
    site_candidates = (
        candidates_of_forms(model, site, "dac")
        if rank is None
        else candidates_at_rank(model, site, "dac", rank)
    )
    assert [candidate.form for candidate in site_candidates.candidates] == [ORIGINAL]
    assert "NaN, infinite or too large" in site_candidates.reason


def test_aligned_ranks_are_multiples_of_four_or_fewer():
    site = site_of(Convolution((32, 16, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)))
    ranks, aligned = (
        [
            each.rank
            for each in candidates_of_forms(
                OneLayer(site.convolution), site, "low-rank", aligned=only
            ).candidates[1:]
        ]
        for only in (False, True)
    )
    assert ranks == list(range(1, 10))
    assert aligned == [1, 2, 3, 4, 8]
