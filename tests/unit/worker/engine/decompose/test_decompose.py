"""Every form against independent oracles: torch's convolutions, and patches for the errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.oracles import (
    factorisations,
    inputs,
    measured,
    patches,
    random_layer,
    run,
)

from worker.engine.decompose import FORMS, Target
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments, unknown


@st.composite
def layers(draw):
    axes = draw(st.integers(0, 3))

    def per_axis(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    kernel = per_axis(1, 4 if axes < 3 else 3)
    groups = draw(st.sampled_from([1, 1, 1, 2, 3])) if axes else 1
    c = draw(st.sampled_from([1, 2, 3, 4, 6]))
    n = draw(st.integers(1, 6))
    padding = (
        draw(st.sampled_from(["same_upper", "same_lower", None, None])) if axes else ()
    )
    if padding is None:
        padding = tuple(
            (draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(axes)
        )
    shape = (groups * n, c, *kernel)
    geometry = Convolution(shape, per_axis(1, 3), padding, per_axis(1, 2), groups)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    bias = rng.standard_normal(groups * n) if draw(st.booleans()) else None
    return Layer(geometry, rng.standard_normal(shape), bias)


def some_ranks(factorisation):
    ranks = list(factorisation.ranks)
    step = 11 if isinstance(ranks[0], tuple) else max(1, len(ranks) // 2)
    return [*ranks[:-1:step], ranks[-1]]


@settings(deadline=None, max_examples=25)
@given(layer=layers(), known=st.booleans())
def test_the_highest_rank_is_the_layer_itself(layer, known):
    x = inputs(layer)
    moments = measured(layer.convolution, x) if known else unknown(layer.convolution)
    target = Target.of(layer, moments)
    expected = run([layer], x)
    for each in factorisations(layer.convolution):
        rank = each.ranks[-1]
        assert each.errors(target, [rank]) == [0]
        torch.testing.assert_close(
            run(each.layers(target, rank), x), expected, rtol=1e-6, atol=1e-6
        )


def weight_of(chain, convolution):
    """The weight `(groups, n, m)` that equals a chain of layers: its outputs for unit patches."""
    groups = convolution.groups
    c = convolution.in_channels // convolution.groups
    m = c * convolution.k2
    axes = len(convolution.kernel)
    units = (
        torch.eye(m, dtype=torch.float64)
        .reshape(m, c, *convolution.kernel)
        .repeat(1, groups, *[1] * axes)
    )
    bare = [
        Layer(
            replace(
                part.convolution,
                stride=(1,) * axes,
                padding=((0, 0),) * axes,
                dilation=(1,) * axes,
            ),
            part.weight,
            None,
        )
        for part in chain
    ]
    return run(bare, units).reshape(m, groups, -1).permute(1, 2, 0).numpy()


@settings(deadline=None, max_examples=15)
@given(layer=layers(), known=st.booleans())
def test_errors_are_those_of_the_layers_and_fall_with_the_rank(layer, known):
    convolution = layer.convolution
    x = inputs(layer, batch=20)
    moments = measured(convolution, x) if known else unknown(convolution)
    target = Target.of(layer, moments)
    expected = run([layer], x).transpose(0, 1).flatten(1)
    centred = (patches(convolution, x) - moments.mean[:, None]).swapaxes(1, 2)
    for each in factorisations(convolution):
        ranks = some_ranks(each)
        errors = each.errors(target, ranks)
        for rank, error in zip(ranks, errors, strict=True):
            factors = each.layers(target, rank)
            assert tuple(part.convolution for part in factors) == each.convolutions(
                rank
            )
            assert all(
                part.weight.shape == part.convolution.weight_shape for part in factors
            )
            difference = weight_of(factors, convolution) - weight_of(
                [layer], convolution
            )
            actual = run(factors, x).transpose(0, 1).flatten(1)
            assert (actual - expected).numpy() == pytest.approx(
                (difference @ centred).reshape(actual.shape), abs=1e-5
            )
            seen = (
                difference
                if target.covariance is None
                else difference @ target.covariance
            )
            lost = (seen * difference).sum()
            assert error == pytest.approx(lost / target.energy, abs=1e-7)
        if isinstance(ranks[0], int):
            assert (np.diff(errors) <= 1e-12).all()


def every(layer):
    """Every factorisation of a layer at some ranks."""
    for each in factorisations(layer.convolution):
        for rank in some_ranks(each):
            yield each, rank


EXAMPLES = [
    random_layer(),
    random_layer(5, 9, (3, 3)),
    random_layer(12, 8, (3, 2), groups=2),
    random_layer(6, 5, (4,)),
    random_layer(4, 3, (2, 3, 2)),
    random_layer(9, 7, (1, 1)),
    random_layer(6, 6, (3, 3), groups=6),
    random_layer(4, 12, (3, 3), groups=2),
]


@pytest.mark.parametrize(
    "layer", EXAMPLES, ids=lambda layer: str(layer.convolution.weight_shape)
)
def test_an_identity_covariance_is_knowing_nothing(layer, monkeypatch):
    monkeypatch.setattr("worker.engine.decompose.target.FLOOR", 1e-15)
    nothing = unknown(layer.convolution)
    groups, m = nothing.mean.shape
    identity = Moments.of(nothing.mean, np.tile(np.eye(m), (groups, 1, 1)))
    plain = Target.of(layer, nothing)
    known = Target.of(layer, identity)
    for each, rank in every(layer):
        assert each.errors(known, [rank])[0] == pytest.approx(
            each.errors(plain, [rank])[0], abs=1e-9
        )
        ours = weight_of(each.layers(plain, rank), layer.convolution)
        theirs = weight_of(each.layers(known, rank), layer.convolution)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    "layer", EXAMPLES, ids=lambda layer: str(layer.convolution.weight_shape)
)
def test_knowing_the_inputs_never_makes_their_error_larger(layer):
    """The fit under the covariance against the factors of the weights alone, judged by the same
    outputs.
    """
    moments = measured(layer.convolution, inputs(layer, batch=20))
    plain = Target.of(layer, unknown(layer.convolution))
    target = Target.of(layer, moments)
    for each in factorisations(layer.convolution):
        ranks = some_ranks(each)
        blind = []
        for rank in ranks:
            difference = weight_of(
                each.layers(plain, rank), layer.convolution
            ) - weight_of([layer], layer.convolution)
            blind.append(
                (difference @ target.covariance * difference).sum() / target.energy
            )
        assert each.errors(target, ranks).sum() <= sum(blind) + 1e-9


@pytest.mark.parametrize(
    "layer", EXAMPLES, ids=lambda layer: str(layer.convolution.weight_shape)
)
@pytest.mark.parametrize(
    "ruin", ["dead channel", "few patches", "constant", "zero weight", "twin filters"]
)
def test_singular_inputs_and_weights_give_finite_factors(layer, ruin):
    x = inputs(layer, batch=8)
    weight = layer.weight.copy()
    if ruin == "dead channel":
        x[:, 0] = 0
    elif ruin == "constant":
        x[:] = 0.5
    elif ruin == "zero weight":
        weight[:] = 0
    elif ruin == "twin filters":
        weight[1:] = weight[:1]
    layer = replace(layer, weight=weight)
    moments = measured(
        replace(layer.convolution, padding=((0, 0),) * len(layer.convolution.kernel)), x
    )
    if ruin == "few patches":
        few = np.random.default_rng(0).standard_normal((*moments.mean.shape, 2))
        moments = Moments.of(moments.mean, few @ few.swapaxes(-1, -2))
    target = Target.of(layer, moments)
    for each, rank in every(layer):
        [error] = each.errors(target, [rank])
        assert 0 <= error <= 1
        factors = each.layers(target, rank)
        assert all(np.isfinite(part.weight).all() for part in factors)
        assert np.isfinite(factors[-1].bias).all()
        difference = weight_of(factors, layer.convolution) - weight_of(
            [layer], layer.convolution
        )
        assert np.abs(difference).max() <= 20 * np.abs(layer.weight).max()
        if rank == each.ranks[-1]:
            np.testing.assert_allclose(difference, 0, atol=1e-6)


def test_a_bias_is_made_only_where_the_inputs_have_a_mean():
    layer = random_layer()
    for each, rank in every(layer):
        assert (
            each.layers(Target.of(layer, unknown(layer.convolution)), rank)[-1].bias
            is None
        )
        *others, last = each.layers(
            Target.of(layer, measured(layer.convolution, inputs(layer))), rank
        )
        assert last.bias.shape == (12,)
        assert all(part.bias is None for part in others)


@pytest.mark.parametrize(
    ("convolution", "applies"),
    [
        (
            Convolution((8, 4, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1)),
            {"dac", "grouped", "spatial", "tucker2"},
        ),
        (
            Convolution((4, 8, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1)),
            {*FORMS} - {"low-rank"},
        ),
        (Convolution((8, 4, 3), (1,), ((1, 1),), (1,)), {"dac", "grouped", "tucker2"}),
        (
            Convolution((8, 1, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1), groups=8),
            {"spatial"},
        ),
        (Convolution((8, 1, 3), (1,), ((1, 1),), (1,), groups=8), set()),
        (Convolution((8, 4, 1, 1), (1, 1), ((0, 0),) * 2, (1, 1)), {"low-rank"}),
        (Convolution((8, 4), (), (), ()), {"low-rank"}),
        (Convolution((8, 1, 5, 5), (1, 1), ((0, 0),) * 2, (1, 1)), {"dac", "spatial"}),
        (
            Convolution((8, 4, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1), transposed=True),
            {"low-rank"},
        ),
        (
            Convolution((8, 4, 1, 1), (1, 1), ((0, 0),) * 2, (1, 1), transposed=True),
            {"low-rank"},
        ),
        (
            Convolution(
                (8, 1, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1), groups=8, transposed=True
            ),
            set(),
        ),
    ],
)
def test_which_forms_apply(convolution, applies):
    assert {
        name for name, form in FORMS.items() if form.why_not(convolution) is None
    } == applies
