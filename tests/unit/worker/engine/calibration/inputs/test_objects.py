"""Text, faces and things that are drawn into images."""

import numpy as np
import pytest

from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.objects import with_objects


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(24, 24), (48, 160), (200, 120)])
def test_a_part_of_each_image_is_drawn_over(channels, size):
    images = with_objects(dead_leaves)(6, channels, size, 3)
    assert images.shape == (6, channels, *size)
    assert images.dtype == np.float32
    assert 0 <= images.min() < images.max() <= 1
    background = np.clip(dead_leaves(6, channels, size, 3), 0, 1)
    changed = (np.abs(images - background) > 0.02).any(1).mean((1, 2))
    assert (changed > 0.01).all()
    assert changed.mean() < 0.9


def test_they_are_the_same_for_the_same_seed():
    first = with_objects(dead_leaves)(4, 3, (32, 32), 1)
    assert (with_objects(dead_leaves)(4, 3, (32, 32), 1) == first).all()
    assert not (with_objects(dead_leaves)(4, 3, (32, 32), 2) == first).all()


def test_text_has_more_edges_than_what_it_lies_on():
    def plain(count, channels, size, seed):
        return np.full((count, channels, *size), 0.5, np.float32)

    text = with_objects(plain)(30, 1, (64, 64), 0)[::3]
    # the strokes of a letter change between ink and paper many times along a row
    changes = (np.abs(np.diff(text[:, 0], axis=2)) > 0.2).sum(2).max(1)
    assert np.median(changes) > 8
