"""Least-squares fits of one layer: groups, wide patches, constant inputs."""

import numpy as np
import pytest
import torch
from support.engine.factored import fit_exactly, rough
from support.engine.programs import chained, layer

from worker.engine.calibration.chains import run_chain
from worker.engine.calibration.effort import DEFAULT_EFFORT, Effort
from worker.engine.calibration.refit.least_squares import RegressionRows
from worker.engine.calibration.refit.refit import refit
from worker.engine.numerics.convolution import Layer

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    fit_exactly(monkeypatch)


def batches(*shape, seed=0, offset=0.0):
    x = torch.from_numpy(RNG(seed).standard_normal(shape).astype(np.float32)) + offset
    return [{"v0": part} for part in x.split(4)]


def test_groups_are_fitted_one_by_one():
    a = layer(RNG(1), (6, 2, 3, 3), padding=1, groups=3)
    inputs = batches(8, 6, 9, 9)
    fitted = refit(chained(("a", a)), inputs, {"a": (rough(a),)}, {}, DEFAULT_EFFORT)[
        "a"
    ][0]
    assert fitted.convolution == a.convolution
    # the layer itself is within reach
    np.testing.assert_allclose(fitted.weight, a.weight, atol=2e-3)
    np.testing.assert_allclose(fitted.bias, a.bias, atol=2e-3)


@pytest.mark.parametrize(
    "effort", [Effort(refit_numbers=40_000), Effort(refit_macs=89 * 27 * 16 * (27 + 4))]
)
def test_the_rows_of_a_site_are_bounded(monkeypatch, effort):
    """Rows of depthwise layers with several inputs an output are long, and a few are enough."""
    held = []
    add = RegressionRows.add

    def add_and_record(self, *rows):
        held.append(sum(part.numel() for part in rows))
        return add(self, *rows)

    monkeypatch.setattr(RegressionRows, "add", add_and_record)
    a = layer(RNG(1), (16, 3, 3, 3), padding=1, groups=16)
    program = chained(("a", a))
    chains = {"a": (rough(a),)}
    [fitted] = refit(program, batches(16, 48, 9, 9), chains, {}, effort)["a"]
    assert len(held) == 4
    of_a_row = 16 * (27 + 1)
    assert 30_000 < sum(held) <= 40_000 + len(held) * of_a_row
    np.testing.assert_allclose(fitted.weight, a.weight, atol=2e-2)


def test_a_strided_layer_without_a_bias_gets_one():
    a = layer(RNG(1), (6, 3, 3, 3), padding=1, stride=2)
    front = Layer(a.convolution, a.weight, None)
    fitted = refit(
        chained(("a", a)),
        batches(8, 3, 9, 9, offset=1),
        {"a": (front,)},
        {},
        DEFAULT_EFFORT,
    )["a"][0]
    np.testing.assert_allclose(fitted.bias, a.bias, atol=2e-3)


@pytest.mark.parametrize("groups", [1, 2])
def test_wide_layers_whose_inputs_are_far_from_0_are_fitted_as_well_in_less_precision(
    groups,
):
    """Rounding of sums that are not centred is relative to the mean's square."""
    a = layer(RNG(1), (4, 600, 1, 1), groups=groups)
    (fitted,) = refit(
        chained(("a", a)),
        batches(64, 600 * groups, 5, 5, offset=100),
        {"a": (rough(a),)},
        {},
        DEFAULT_EFFORT,
    )["a"]
    noise = np.linalg.norm(rough(a).weight - a.weight)
    assert np.linalg.norm(fitted.weight - a.weight) < 0.01 * noise
    outputs = run_chain([fitted], torch.full((1, 600 * groups, 1, 1), 100.0))
    targets = run_chain([a], torch.full((1, 600 * groups, 1, 1), 100.0))
    torch.testing.assert_close(outputs, targets, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("channels", [3, 600])
@pytest.mark.parametrize("constant", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("rounding", [0.0, 1e-7])
def test_inputs_that_never_change_but_for_rounding_leave_the_weights_and_mend_the_bias(
    constant, channels, rounding
):
    """As behind dead channels: of weights nothing can be learned, of the bias everything."""
    a = layer(RNG(1), (4, channels, 1, 1))
    present = rough(a)
    program = chained(lambda x: constant * (1 + rounding * x.sign()), ("a", a))
    inputs = batches(8, channels, 5, 5)
    fitted = refit(program, inputs, {"a": (present,)}, {}, DEFAULT_EFFORT)
    np.testing.assert_allclose(
        fitted["a"][0].weight, present.weight, rtol=1e-2, atol=1e-2
    )
    actual = run_chain([fitted["a"][0]], torch.full((1, channels, 1, 1), constant))
    expected = run_chain([a], torch.full((1, channels, 1, 1), constant))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_batches_without_rows_have_nothing_to_fit_to():
    """A detector that finds nothing has no rows for its heads."""
    a = layer(RNG(1), (6, 4))
    data = RegressionRows(a.convolution)
    data.add(torch.zeros(0, 1, 4), torch.zeros(0, 1, 6))
    assert not data.are_finite
    data.add(torch.ones(3, 1, 4), torch.ones(3, 1, 6))
    assert data.are_finite
    assert np.isfinite(data.fit(a, data.targets).weight).all()
