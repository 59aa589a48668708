"""Mosaics: cells around random points."""

import numpy as np

from worker.engine.calibration.inputs import mosaics as module
from worker.engine.calibration.inputs.mosaics import mosaics


def test_a_cell_holds_the_pixels_nearest_to_its_point(monkeypatch):
    rng = np.random.default_rng((5, 1))
    cells = int(rng.integers(6, 48))
    points = rng.random((cells, 2)) * [20, 30]
    monkeypatch.setattr(
        module, "random_colours", lambda *_: np.eye(cells, dtype=np.float32)
    )
    monkeypatch.setattr(
        module, "_clouds", lambda channels, size, _: np.zeros((channels, *size))
    )
    (image,) = mosaics(1, cells, (20, 30), 5)
    offsets = np.indices((20, 30)) - points[:, :, None, None]
    np.testing.assert_array_equal(image.argmax(0), (offsets**2).sum(1).argmin(0))
