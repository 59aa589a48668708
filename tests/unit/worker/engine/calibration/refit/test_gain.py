"""What a fit takes from outputs and what they are given back, against simulated regressions of known strength."""

import numpy as np
import pytest
import torch
from support.programs import layer

from worker.engine.calibration.refit.gain import compensated
from worker.engine.numerics.convolution import Layer


def fit(kept, rows=100_000, offset=5.0):
    """Fit outputs of which inputs know these shares; return the layer, the inputs, and what was wanted."""
    rng = np.random.default_rng(0)
    kept = np.array(kept)
    known, unknown = rng.standard_normal((2, rows, len(kept)))
    x, wanted = known, np.sqrt(kept) * known + np.sqrt(1 - kept) * unknown + offset
    made = Layer(layer(rng, (len(kept), len(kept), 1, 1)).convolution, *least_squares(x, wanted))
    return made, torch.from_numpy(x), torch.from_numpy(wanted)


def least_squares(x, wanted):
    solution = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), wanted, rcond=None)[0]
    return solution[:-1].T.reshape(wanted.shape[1], x.shape[1], 1, 1).astype(np.float32), solution[
        -1
    ].astype(np.float32)


def given(made, x):
    weight, bias = (
        torch.from_numpy(made.weight).flatten(1).double(),
        torch.from_numpy(made.bias).double(),
    )
    return (x @ weight.T + bias)[:, None]


def compensate(made, x, wanted):
    halves = zip(
        *(
            (part[: len(part) // 3], part[len(part) // 3 :])
            for part in (given(made, x), wanted[:, None])
        ),
        strict=True,
    )
    return compensated(made, *(list(part) for part in zip(*halves, strict=True)))


@pytest.mark.parametrize("kept", [1.0, 0.9, 0.7, 0.5])
def test_deviations_are_divided_by_one_less_the_square_of_what_is_lost(kept):
    made, x, wanted = fit([kept, 1.0])
    factors = given(compensate(made, x, wanted), x).std(0) / given(made, x).std(0)
    np.testing.assert_allclose(factors[0], [1 / (1 - (1 - kept) ** 2), 1], rtol=0.01)


@pytest.mark.parametrize("kept", [0.3, 0.01, 1e-6])
def test_outputs_come_to_vary_no_more_than_what_was_wanted(kept):
    made, x, wanted = fit([kept, 1.0])
    np.testing.assert_allclose(
        given(compensate(made, x, wanted), x)[:, 0].std(0), wanted.std(0), rtol=0.01
    )


def test_means_stay():
    made, x, wanted = fit([0.5, 0.2])
    np.testing.assert_allclose(
        given(compensate(made, x, wanted), x).mean((0, 1)), wanted.mean(0), atol=1e-4
    )


def test_of_channels_that_do_not_vary_nothing_is_made():
    made, x, wanted = fit([0.5, 0.5, 0.5])
    made.weight[1] = 0  # what is given does not vary
    wanted[:, 2] = 5.0  # nor what is wanted
    changed = compensate(made, x, wanted)
    np.testing.assert_array_equal(changed.weight[1], made.weight[1])
    np.testing.assert_array_equal(changed.weight[2], made.weight[2])
    np.testing.assert_allclose(changed.bias[1:], made.bias[1:], rtol=1e-6)
    assert np.isfinite(changed.weight).all()


def test_a_layer_without_a_bias_gets_one():
    made, x, wanted = fit([0.5, 0.5], offset=0.0)
    bare = Layer(made.convolution, made.weight, None)
    changed = compensated(bare, [given(made, x)], [wanted[:, None]])
    assert changed.weight.dtype == changed.bias.dtype == np.float32
    np.testing.assert_allclose(changed.weight / made.weight, 4 / 3, rtol=0.02)
