"""Dead leaves: balls and turned boxes."""

import numpy as np

from worker.engine.calibration.inputs.dead_leaves import _leaf


class Drawn:
    """Random numbers for three leaves of radius 10: a ball, a box half as narrow, a turned box."""

    def __init__(self):
        self._random = [
            np.full(3, 0.34),
            np.tile([0.25, 0.5], (3, 1)),
            np.array([0.1, 0.9, 0.9]),
        ]

    def random(self, shape):
        return self._random.pop(0)

    def standard_normal(self, shape):
        return np.array([np.eye(2), np.eye(2), [[1.0, -1.0], [1.0, 1.0]]])

    def uniform(self, low, high, shape):
        return np.full(shape, 0.5)


def test_leaves_are_balls_and_turned_boxes():
    ball, box, turned = _leaf(3, (64, 48), Drawn())
    y, x = np.indices((64, 48)) - np.array([16, 24])[:, None, None]
    np.testing.assert_array_equal(ball, y**2 + x**2 < 100)
    np.testing.assert_array_equal(box, (abs(y) < 10) & (abs(x) < 5))
    along = (y + x) / np.sqrt(2)
    across = (x - y) / np.sqrt(2)
    ways = [(abs(a) < 10) & (abs(b) < 5) for a, b in ((along, across), (across, along))]
    assert any((turned == way).all() for way in ways)
