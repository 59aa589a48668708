"""Calibrations of small programs, with little effort."""

from types import SimpleNamespace

import numpy as np

from support.engine.programs import chained, layer
from worker.engine.calibration.calibrate import calibrate
from worker.engine.calibration.effort import Effort
from worker.engine.model import TensorSpec

RNG = np.random.default_rng


A = layer(RNG(1), (4, 3, 3, 3), padding=1)


SMALL = Effort(most_images=64, held_out_images=32)
"""Few images: what holds for them holds for many."""


def of(
    *parts, shape=(1, 3, 16, 16), dtype="float32", stated=None, macs=1000, effort=SMALL
):
    return telling(
        *parts, shape=shape, dtype=dtype, stated=stated, macs=macs, effort=effort
    )[0]


def telling(
    *parts, shape=(1, 3, 16, 16), dtype="float32", stated=None, macs=1000, effort=SMALL
):
    """Return the calibration of a program of these parts, and the shares that it reported."""
    program = chained(*parts)
    geometries = {
        part[0]: part[1].convolution for part in parts if isinstance(part, tuple)
    }
    model = SimpleNamespace(
        program=lambda: program, inputs=[TensorSpec("v0", dtype, None)]
    )
    shares = []
    calibration = calibrate(
        model, {"v0": shape}, geometries, macs, stated, None, shares.append, effort
    )
    return calibration, shares


def pooled(x):
    return x.mean((2, 3))


def judging_batches(calibration):
    """Return the batches that the artifact is judged by, over all groups."""
    return [batch for group in calibration.judging.groups.values() for batch in group]
