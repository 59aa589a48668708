"""Every form against independent oracles: torch's convolutions, and patches for the errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from worker.engine.decompose import FORMS, Target
from worker.engine.numerics.convolution import Convolution, Layer, chain_macs
from worker.engine.numerics.moments import Moments, unknown

CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def pads(convolution, size):
    """The zeros before and after each axis, by ONNX's specification of auto_pad."""
    if not isinstance(convolution.padding, str):
        return convolution.padding
    results = []
    for axis, length in enumerate(size):
        reach = convolution.dilation[axis] * (convolution.kernel[axis] - 1) + 1
        stride = convolution.stride[axis]
        total = max((-(-length // stride) - 1) * stride + reach - length, 0)
        halves = (total // 2, total - total // 2)
        results.append(halves if convolution.padding == "same_upper" else halves[::-1])
    return tuple(results)


def padded(convolution, x):
    ends = [end for pair in reversed(pads(convolution, x.shape[2:])) for end in pair]
    return functional.pad(x, ends)


def run(layers, x):
    for layer in layers:
        geometry = layer.convolution
        weight = torch.from_numpy(np.ascontiguousarray(layer.weight))
        bias = None if layer.bias is None else torch.from_numpy(np.ascontiguousarray(layer.bias))
        if not geometry.kernel:
            x = functional.linear(x, weight, bias)
            continue
        run_one = CONV[len(geometry.kernel)]
        x = run_one(
            padded(geometry, x),
            weight,
            bias,
            geometry.stride,
            0,
            geometry.dilation,
            geometry.groups,
        )
    return x


def patches(convolution, x):
    """The patches of a layer, `(groups, positions, m)`, cut out by a convolution with ones."""
    groups, c = convolution.groups, convolution.in_channels // convolution.groups
    m, axes = c * convolution.k2, len(convolution.kernel)
    picks = (
        torch.eye(m, dtype=x.dtype)
        .reshape(m, c, *convolution.kernel)
        .repeat(groups, 1, *[1] * axes)
    )
    cut = run(
        [Layer(replace(convolution, weight_shape=tuple(picks.shape)), picks.numpy(), None)], x
    )
    return cut.transpose(0, 1).reshape(groups, m, -1).transpose(1, 2).numpy()


def measured(convolution, x):
    rows = patches(convolution, x)
    mean = rows.mean(axis=1)
    centred = rows - mean[:, None]
    return Moments.of(mean, centred.swapaxes(1, 2) @ centred / rows.shape[1])


@st.composite
def layers(draw):
    axes = draw(st.integers(0, 3))
    per_axis = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(axes))  # noqa: E731
    kernel = per_axis(1, 4 if axes < 3 else 3)
    groups = draw(st.sampled_from([1, 1, 1, 2, 3])) if axes else 1
    c, n = draw(st.sampled_from([1, 2, 3, 4, 6])), draw(st.integers(1, 6))
    padding = draw(st.sampled_from(["same_upper", "same_lower", None, None])) if axes else ()
    if padding is None:
        padding = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(axes))
    shape = (groups * n, c, *kernel)
    geometry = Convolution(shape, per_axis(1, 3), padding, per_axis(1, 2), groups)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    bias = rng.standard_normal(groups * n) if draw(st.booleans()) else None
    return Layer(geometry, rng.standard_normal(shape), bias)


def inputs(layer, batch=3, seed=0):
    """Correlated inputs of a mean other than 0."""
    convolution = layer.convolution
    size = tuple(
        max(4, d * (k - 1) + 1)
        for d, k in zip(convolution.dilation, convolution.kernel, strict=True)
    )
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((convolution.in_channels, convolution.in_channels))
    x = np.tensordot(rng.standard_normal((batch, *size, convolution.in_channels)) + 0.5, mixing, 1)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def factorisations(convolution, form=None):
    for name, (why_not, factorise) in FORMS.items():
        if form in (None, name) and why_not(convolution) is None:
            yield from factorise(convolution)


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
    groups, c = convolution.groups, convolution.in_channels // convolution.groups
    m, axes = c * convolution.k2, len(convolution.kernel)
    units = (
        torch.eye(m, dtype=torch.float64)
        .reshape(m, c, *convolution.kernel)
        .repeat(1, groups, *[1] * axes)
    )
    bare = [
        Layer(
            replace(
                part.convolution, stride=(1,) * axes, padding=((0, 0),) * axes, dilation=(1,) * axes
            ),
            part.weight,
            None,
        )
        for part in chain
    ]
    return run(bare, units).reshape(m, groups, -1).permute(1, 2, 0).numpy()


@settings(deadline=None, max_examples=25)
@given(layer=layers(), known=st.booleans())
def test_errors_are_those_of_the_layers_and_fall_with_the_rank(layer, known):
    convolution, x = layer.convolution, inputs(layer, batch=20)
    moments = measured(convolution, x) if known else unknown(convolution)
    target = Target.of(layer, moments)
    expected = run([layer], x).transpose(0, 1).flatten(1)
    centred = (patches(convolution, x) - moments.mean[:, None]).swapaxes(1, 2)
    for each in factorisations(convolution):
        ranks = some_ranks(each)
        errors = each.errors(target, ranks)
        for rank, error in zip(ranks, errors, strict=True):
            factors = each.layers(target, rank)
            assert tuple(part.convolution for part in factors) == each.convolutions(rank)
            assert all(part.weight.shape == part.convolution.weight_shape for part in factors)
            difference = weight_of(factors, convolution) - weight_of([layer], convolution)
            actual = run(factors, x).transpose(0, 1).flatten(1)
            assert (actual - expected).numpy() == pytest.approx(
                (difference @ centred).reshape(actual.shape), abs=1e-5
            )
            seen = difference if target.covariance is None else difference @ target.covariance
            lost = (seen * difference).sum()
            assert error == pytest.approx(lost / target.energy, abs=1e-7)
        if isinstance(ranks[0], int):
            assert (np.diff(errors) <= 1e-12).all()


def random_layer(n=12, c=8, kernel=(3, 3), groups=1, seed=0):
    axes = len(kernel)
    geometry = Convolution(
        (n, c // groups, *kernel), (1,) * axes, ((1, 1),) * axes, (1,) * axes, groups
    )
    return Layer(geometry, np.random.default_rng(seed).standard_normal(geometry.weight_shape), None)


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


@pytest.mark.parametrize("layer", EXAMPLES, ids=lambda layer: str(layer.convolution.weight_shape))
def test_an_identity_covariance_is_knowing_nothing(layer, monkeypatch):
    monkeypatch.setattr("worker.engine.decompose.target.FLOOR", 1e-15)
    nothing = unknown(layer.convolution)
    groups, m = nothing.mean.shape
    identity = Moments.of(nothing.mean, np.tile(np.eye(m), (groups, 1, 1)))
    plain, known = Target.of(layer, nothing), Target.of(layer, identity)
    for each, rank in every(layer):
        assert each.errors(known, [rank])[0] == pytest.approx(
            each.errors(plain, [rank])[0], abs=1e-9
        )
        ours, theirs = (
            weight_of(each.layers(target, rank), layer.convolution) for target in (plain, known)
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("layer", EXAMPLES, ids=lambda layer: str(layer.convolution.weight_shape))
def test_knowing_the_inputs_never_makes_their_error_larger(layer):
    """The fit under the covariance against the factors of the weights alone, judged by the same
    outputs.
    """
    moments = measured(layer.convolution, inputs(layer, batch=20))
    plain, target = Target.of(layer, unknown(layer.convolution)), Target.of(layer, moments)
    for each in factorisations(layer.convolution):
        ranks = some_ranks(each)
        blind = []
        for rank in ranks:
            difference = weight_of(each.layers(plain, rank), layer.convolution) - weight_of(
                [layer], layer.convolution
            )
            blind.append((difference @ target.covariance * difference).sum() / target.energy)
        assert each.errors(target, ranks).sum() <= sum(blind) + 1e-9


@pytest.mark.parametrize("layer", EXAMPLES, ids=lambda layer: str(layer.convolution.weight_shape))
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
        difference = weight_of(factors, layer.convolution) - weight_of([layer], layer.convolution)
        assert np.abs(difference).max() <= 20 * np.abs(layer.weight).max()
        if rank == each.ranks[-1]:
            np.testing.assert_allclose(difference, 0, atol=1e-6)


def test_a_bias_is_made_only_where_the_inputs_have_a_mean():
    layer = random_layer()
    for each, rank in every(layer):
        assert each.layers(Target.of(layer, unknown(layer.convolution)), rank)[-1].bias is None
        *others, last = each.layers(
            Target.of(layer, measured(layer.convolution, inputs(layer))), rank
        )
        assert last.bias.shape == (12,)
        assert all(part.bias is None for part in others)


GEOMETRY = Convolution((8, 16, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))


@pytest.mark.parametrize(
    ("form", "variant", "rank", "cost"),
    [
        ("dac", None, 2, 10 * 12 * (16 * 2 * 9 + 8 * 32)),
        ("grouped", "4 groups", 3, 10 * 12 * 3 * (16 * 9 + 4 * 8)),
        ("spatial", "3x1 then 1x3", 5, 10 * 24 * 5 * 16 * 3 + 10 * 12 * 5 * 8 * 3),
        ("spatial", "1x3 then 3x1", 5, 20 * 12 * 5 * 16 * 3 + 10 * 12 * 5 * 8 * 3),
        ("tucker2", None, (4, 5), 20 * 24 * 16 * 4 + 10 * 12 * (4 * 5 * 9 + 5 * 8)),
    ],
)
def test_the_cost_is_the_formulas(form, variant, rank, cost):
    [each] = [each for each in factorisations(GEOMETRY, form) if each.variant == variant]
    assert chain_macs(each.convolutions(rank), (20, 24)) == cost


def test_pointwise_first_and_low_rank_cost_what_their_formulas_say():
    wide = Convolution((4, 16, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    [each] = factorisations(wide, "pointwise-first")
    assert chain_macs(each.convolutions(2), (5, 6)) == 30 * 4 * 2 * (16 + 9)
    [each] = factorisations(Convolution((10, 64), (), (), ()), "low-rank")
    assert chain_macs(each.convolutions(7), ()) == 7 * (64 + 10)


@pytest.mark.parametrize(
    ("convolution", "applies"),
    [
        (
            Convolution((8, 4, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1)),
            {"dac", "grouped", "spatial", "tucker2"},
        ),
        (Convolution((4, 8, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1)), {*FORMS} - {"low-rank"}),
        (Convolution((8, 4, 3), (1,), ((1, 1),), (1,)), {"dac", "grouped", "tucker2"}),
        (Convolution((8, 1, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1), groups=8), {"spatial"}),
        (Convolution((8, 1, 3), (1,), ((1, 1),), (1,), groups=8), set()),
        (Convolution((8, 4, 1, 1), (1, 1), ((0, 0),) * 2, (1, 1)), {"low-rank"}),
        (Convolution((8, 4), (), (), ()), {"low-rank"}),
        (Convolution((8, 1, 5, 5), (1, 1), ((0, 0),) * 2, (1, 1)), {"dac", "spatial"}),
        (Convolution((8, 4, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1), transposed=True), {"low-rank"}),
        (Convolution((8, 4, 1, 1), (1, 1), ((0, 0),) * 2, (1, 1), transposed=True), {"low-rank"}),
        (
            Convolution((8, 1, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1), groups=8, transposed=True),
            set(),
        ),
    ],
)
def test_which_forms_apply(convolution, applies):
    assert {name for name, form in FORMS.items() if form.why_not(convolution) is None} == applies


TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def run_transposed(layers, x):
    """Run a transposed layer, or a pointwise and a transposed one; padding is symmetric."""
    *first, last = layers
    x = run(first, x)
    geometry = last.convolution
    bias = None if last.bias is None else torch.from_numpy(last.bias)
    inside = [before for before, _ in geometry.padding]
    settings = (
        geometry.stride,
        inside,
        geometry.output_padding or 0,
        geometry.groups,
        geometry.dilation,
    )
    return TRANSPOSED[len(geometry.kernel)](
        x, torch.from_numpy(np.ascontiguousarray(last.weight)), bias, *settings
    )


def measured_positions(convolution, x):
    groups = convolution.groups
    rows = x.movedim(1, -1).reshape(-1, groups, x.shape[1] // groups).transpose(0, 1).numpy()
    mean = rows.mean(axis=1)
    return Moments.of(
        mean, (rows - mean[:, None]).swapaxes(1, 2) @ (rows - mean[:, None]) / rows.shape[1]
    )


def transposed_layer(axes, groups, c, n, kernel, stride, seed, **geometry):
    rng = np.random.default_rng(seed)
    shape = (groups * c, n, *[kernel] * axes)
    padding = ((geometry.pop("padding", 0),) * 2,) * axes
    more = (geometry.pop("output_padding", 0),) * axes
    dilation = (geometry.pop("dilation", 1),) * axes
    convolution = Convolution(shape, (stride,) * axes, padding, dilation, groups, True, more)
    return Layer(convolution, rng.standard_normal(shape), rng.standard_normal(groups * n))


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(2, 5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 1),
    st.integers(1, 2),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_transposed_layer_is_itself_at_full_rank(
    axes, groups, c, n, kernel, stride, padding, dilation, knows
):
    more = min(padding, stride - 1)
    layer = transposed_layer(
        axes,
        groups,
        c,
        n,
        kernel,
        stride,
        0,
        padding=min(padding, kernel - 1),
        output_padding=more,
        dilation=dilation,
    )
    x = (
        torch.randn(
            3,
            groups * c,
            *[4] * axes,
            dtype=torch.float64,
            generator=torch.Generator().manual_seed(0),
        )
        + 1
    )
    moments = measured_positions(layer.convolution, x) if knows else unknown(layer.convolution)
    (form,) = factorisations(layer.convolution, "low-rank")
    target = Target.of(layer, moments)
    exact = form.ranks[-1]
    actual = run_transposed(form.layers(target, exact), x)
    torch.testing.assert_close(actual, run_transposed([layer], x), rtol=1e-6, atol=1e-6)
    assert form.errors(target, [exact])[0] == 0
    assert chain_macs(form.convolutions(2), (4,) * axes) == 4**axes * groups * 2 * (
        c + n * kernel**axes
    )


@pytest.mark.parametrize("groups", [1, 2])
def test_the_error_of_a_transposed_layer_is_that_of_its_outputs_where_none_meet(groups):
    layer = transposed_layer(2, groups, 6, 4, 2, 2, 1)
    x = torch.randn(
        4, groups * 6, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    x = (
        x @ torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ).abs()
    target = Target.of(layer, measured_positions(layer.convolution, x))
    (form,) = factorisations(layer.convolution, "low-rank")
    expected = run_transposed([replace(layer, bias=None)], x)
    for rank in (1, 2, 4):
        given_bias = run_transposed(form.layers(target, rank), x)
        difference = given_bias - run_transposed([layer], x)
        error = float(difference.square().sum() / expected.square().sum())
        assert form.errors(target, [rank])[0] == pytest.approx(error, rel=0.01)


def test_wide_convolutions_are_grouped_once_alone():
    variants = {
        c: [each.variant for each in factorisations(random_layer(8, c).convolution, "grouped")]
        for c in (226, 228)
    }
    assert variants == {226: ["1 group", "2 groups", "113 groups"], 228: ["1 group"]}


@pytest.mark.parametrize("strength", [1e-25, 1e-8, 1e8, 1e25])
def test_the_errors_of_wide_layers_do_not_depend_on_how_strong_inputs_are(strength):
    """Wide ones are computed in float32, unless it does not hold them."""
    convolution = Convolution((16, 64, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    layer = Layer(
        convolution,
        np.random.default_rng(0).standard_normal((16, 64, 3, 3)).astype(np.float32),
        None,
    )
    root = np.random.default_rng(1).standard_normal((1, 576, 700)).astype(np.float32)
    moments = Moments.of(np.zeros((1, 576)), root @ root.swapaxes(1, 2) / 700)
    strong = Moments.of(moments.mean, moments.covariance.astype(np.float64) * strength**2)
    plain, scaled = (Target.of(layer, known) for known in (moments, strong))
    assert (plain.covariance.dtype, scaled.covariance.dtype) == (np.float32, np.float64)
    for name in ("dac", "spatial", "tucker2", "grouped", "pointwise-first"):
        for form in FORMS[name].factorisations(convolution):
            ranks = form.ranks[:: len(form.ranks) // 4]
            assert form.errors(plain, ranks) == pytest.approx(form.errors(scaled, ranks), abs=1e-4)


def test_weights_near_the_end_of_float32_are_computed_in_float64():
    convolution = Convolution((16, 64, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    layer = Layer(convolution, np.full((16, 64, 3, 3), 1e15, np.float32), None)
    target = Target.of(layer, Moments.of(np.zeros((1, 576)), np.eye(576, dtype=np.float32)[None]))
    assert target.covariance.dtype == target.weight.dtype == np.float64
    assert np.isfinite(target.energy)
