"""Layers and chains in a given layer's place, and fits of them without corrections."""

import numpy as np
import torch

from support.engine.programs import layer
from worker.engine.calibration.refit import least_squares, refit
from worker.engine.calibration.refit.refit import Origin
from worker.engine.calibration.statistics import patch_sums
from worker.engine.decompose import FORMS, Target
from worker.engine.numerics.convolution import Layer


def rough(whole, amount=0.3, seed=9):
    """Return the layer with errors in its weights, as a factorisation makes."""
    noise = np.random.default_rng(seed).standard_normal(whole.weight.shape)
    scaled = amount * whole.weight.std() * noise
    return Layer(
        whole.convolution, whole.weight + scaled.astype(np.float32), whole.bias
    )


def narrow(whole, rank, seed=9):
    """Return two random layers in a 1x1 convolution's or a linear layer's place."""
    n, c, *ones = whole.weight.shape
    rng = np.random.default_rng(seed)
    return layer(rng, (rank, c, *ones), bias=False), layer(
        rng, (n, rank, *ones), bias=False
    )


def low_rank(whole, rank):
    """Return the origin of a low-rank chain in the layer's place."""
    (factorisation,) = FORMS["low-rank"].factorisations(whole.convolution)

    def factors(best, moments):
        return factorisation.layers(Target.of(best, moments), rank)

    return Origin(lambda: whole, factors)


def fit_exactly(patch):
    """Leave out shrinkage and gain correction, which `test_shrinkage` and `test_gain` check."""
    for module in (patch_sums, least_squares):
        patch.setattr(
            module, "oas_intensity", lambda square, *_: torch.zeros(len(square))
        )
    patch.setattr(refit, "restore_gain", lambda fitted, *_: fitted)
