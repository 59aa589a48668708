"""Chains composed into one layer."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from support.engine.programs import layer

from worker.engine.calibration.chains import compose, run_chain
from worker.engine.decompose import FORMS, Target
from worker.engine.numerics.moments import unknown

RNG = np.random.default_rng


def geometries():
    """Geometries of 0 to 3 axes, strided, padded, dilated and grouped, with each form for them."""
    shapes = [
        *product([(8, 6, 3, 3), (8, 6, 1, 1), (8, 6, 5), (8, 6, 2, 3, 3)], [1, 2]),
        ((8, 6), 1),
    ]
    for (n, c, *kernel), groups in shapes:
        plain = layer(
            RNG(1), (n, c // groups, *kernel), padding=1, stride=2, groups=groups
        )
        whole = replace(
            plain, convolution=replace(plain.convolution, dilation=(2,) * len(kernel))
        )
        yield from (
            (form, whole)
            for form in FORMS
            if FORMS[form].why_not(whole.convolution) is None
        )


@pytest.mark.parametrize(("form", "whole"), [*geometries()])
def test_a_chain_is_composed_into_one_layer(form, whole):
    geometry = whole.convolution
    size = (7,) * len(geometry.kernel)
    x = torch.from_numpy(
        RNG(2).standard_normal((3, geometry.in_channels, *size)).astype(np.float32)
    )
    for factorisation in FORMS[form].factorisations(geometry):
        layers = factorisation.layers(
            Target.of(whole, unknown(geometry)),
            factorisation.ranks[len(factorisation.ranks) // 2],
        )
        with torch.no_grad():
            torch.testing.assert_close(
                run_chain([compose(layers, geometry)], x), run_chain(layers, x)
            )
