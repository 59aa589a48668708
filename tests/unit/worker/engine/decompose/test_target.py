"""What a factorisation aims at: the precision of its numbers."""

import numpy as np
import pytest

from worker.engine.decompose import FORMS, Target
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments


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
    strong = Moments.of(
        moments.mean, moments.covariance.astype(np.float64) * strength**2
    )
    plain = Target.of(layer, moments)
    scaled = Target.of(layer, strong)
    assert plain.covariance.dtype == np.float32
    assert scaled.covariance.dtype == np.float64
    for name in ("dac", "spatial", "tucker2", "grouped", "pointwise-first"):
        for form in FORMS[name].factorisations(convolution):
            ranks = form.ranks[:: len(form.ranks) // 4]
            assert form.errors(plain, ranks) == pytest.approx(
                form.errors(scaled, ranks), abs=1e-4
            )


def test_weights_near_the_end_of_float32_are_computed_in_float64():
    convolution = Convolution((16, 64, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    layer = Layer(convolution, np.full((16, 64, 3, 3), 1e15, np.float32), None)
    target = Target.of(
        layer, Moments.of(np.zeros((1, 576)), np.eye(576, dtype=np.float32)[None])
    )
    assert target.covariance.dtype == target.weight.dtype == np.float64
    assert np.isfinite(target.energy)
