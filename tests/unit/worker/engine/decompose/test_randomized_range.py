"""The range finder against singular values, on small matrices with its limits lowered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.engine.decompose import Target, randomized_range
from worker.engine.decompose.forms.low_rank import low_rank
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments, unknown

WIDTH = 60


@pytest.fixture(autouse=True)
def few_directions(monkeypatch):
    monkeypatch.setattr(randomized_range, "_LONG", 100)
    monkeypatch.setattr(randomized_range, "_MOST", WIDTH)


def decaying(n, size, decay, seed=0):
    """A matrix whose singular values fall with a power, between random directions."""
    rng = np.random.default_rng(seed)
    side = min(n, size)
    left = np.linalg.qr(rng.standard_normal((n, side)))[0]
    right = np.linalg.qr(rng.standard_normal((size, side)))[0]
    return (left * np.arange(1, side + 1.0) ** -decay) @ right.T


def covariance(size, seed=0):
    factor = np.random.default_rng(seed).standard_normal((size, 2 * size))
    return factor @ factor.T / size


def optimum(weight, known):
    """What the leading directions explain at the most."""
    white = weight if known is None else weight @ np.linalg.cholesky(known)
    return np.linalg.svd(white, compute_uv=False) ** 2


def left_out(weight, known, rows):
    """What the best second layer behind these rows leaves out of the outputs, by least squares."""
    known = np.eye(weight.shape[1]) if known is None else known
    across = known @ rows.T
    difference = weight - weight @ across @ np.linalg.solve(rows @ across, rows)
    return np.einsum("ij,jk,ik->", difference, known, difference)


@settings(deadline=None, max_examples=15)
@given(
    sides=st.sampled_from([(150, 150), (120, 300), (300, 120)]),
    decay=st.sampled_from([0.5, 1.0]),
    is_known=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 99),
)
def test_it_comes_near_the_optimum_and_never_claims_more(
    sides, decay, is_known, dtype, seed
):
    weight = decaying(*sides, decay, seed)
    known = covariance(sides[1], seed) if is_known else None
    best = optimum(weight, known)
    basis = randomized_range.find(weight.astype(dtype), known, WIDTH)
    claimed = basis.spectrum(min(sides))
    assert claimed.shape == (min(sides),)
    for rank in (1, WIDTH // 4, WIDTH // 2, WIDTH):
        error = best.sum() - claimed[:rank].sum()
        least = best[rank:].sum()
        assert error >= least * (1 - 1e-3)
        assert error <= least * (1.1 if rank <= WIDTH // 2 else 1.5)
        assert left_out(weight, known, basis.rows(rank).astype(float)) == pytest.approx(
            error, rel=2e-2
        )


@pytest.mark.parametrize("is_known", [False, True])
def test_the_rows_are_uncorrelated_and_of_variance_1(is_known):
    known = 7 * covariance(200) if is_known else None
    rows = randomized_range.find(decaying(150, 200, 0.5), known, WIDTH).rows(20)
    among = rows @ rows.T if known is None else rows @ known @ rows.T
    assert among == pytest.approx(np.eye(20), abs=1e-3)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_the_size_of_the_numbers_does_not_matter(scale):
    weight = decaying(120, 150, 0.5)
    plain = randomized_range.find(1 * weight, None, WIDTH).spectrum(120)
    scaled = randomized_range.find(scale * weight, None, WIDTH).spectrum(120)
    assert scaled / scale / scale == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("rank", [0, 1, 30])
def test_a_matrix_of_fewer_directions_than_are_looked_for(rank):
    weight = decaying(120, 150, 0.0)
    weight = weight[:, :rank] @ weight[:rank] if rank else np.zeros((120, 150))
    claimed = randomized_range.find(weight, None, WIDTH).spectrum(120)
    assert claimed[:WIDTH].sum() == pytest.approx((weight**2).sum(), rel=1e-4)


def test_the_same_matrix_gives_the_same():
    weight = decaying(120, 150, 0.5).astype(np.float32)
    first = randomized_range.find(weight, None, WIDTH).rows(5)
    second = randomized_range.find(weight, None, WIDTH).rows(5)
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("decay", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("sides", [(150, 150), (120, 300)])
def test_what_is_left_beyond_the_directions_is_estimated(sides, decay):
    """Between what the best rows leave and what they would leave if those behind were all alike."""
    weight = decaying(*sides, decay)
    best = optimum(weight, None)
    side = min(sides)
    claimed = randomized_range.find(weight, None, WIDTH).spectrum(side)
    assert claimed.sum() == pytest.approx(best.sum(), rel=1e-6)
    left = claimed.sum() - claimed.cumsum()
    for rank in range(WIDTH, side):
        straight = left[WIDTH - 1] * (side - rank) / (side - WIDTH)
        least = best[rank:].sum() - 0.02 * left[WIDTH - 1]
        assert least <= left[rank - 1] <= straight * (1 + 1e-6)


@pytest.mark.parametrize("is_known", [False, True])
def test_a_large_layer_has_the_errors_that_it_is_said_to_have(is_known):
    convolution = Convolution((120, 150), (), (), ())
    weight = decaying(120, 150, 0.5)
    moments = (
        Moments.of(np.zeros((1, 150)), covariance(150)[None])
        if is_known
        else unknown(convolution)
    )
    target = Target.of(Layer(convolution, weight, None), moments)
    (form,) = low_rank(convolution)
    assert list(form.ranks) == [*range(1, WIDTH + 1), WIDTH + 1, WIDTH + 33, 120]
    for rank in (1, 20, WIDTH, 90, 120):
        first, second = form.layers(target, rank)
        difference = weight - second.weight @ first.weight
        seen = (
            difference
            if target.covariance is None
            else difference @ target.covariance[0]
        )
        error = (seen * difference).sum() / target.energy
        claimed = form.errors(target, [rank])[0]
        if rank < WIDTH:
            assert claimed == pytest.approx(error, abs=1e-4)
        else:
            assert error - 1e-9 <= claimed < 2 * error + 1e-9
        assert error < 1e-9 or rank < 120
