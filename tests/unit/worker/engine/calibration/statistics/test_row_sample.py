"""The sample of an input's patches."""

import torch

from worker.engine.calibration.effort import DEFAULT_EFFORT, Effort
from worker.engine.calibration.statistics.row_sample import sample_rows
from worker.engine.numerics.convolution import Convolution

POINTWISE = Convolution((4, 2, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
IMAGE = torch.zeros(1, 2, 200, 300)


def sample(x, batches, seed, effort=DEFAULT_EFFORT):
    return sample_rows(POINTWISE, x, batches, seed, effort)


def test_a_seed_always_gives_the_same_sample_of_every_batch():
    picked = sample(IMAGE, 4, 0)
    assert len(picked) == 8192 // 4
    assert 0 <= picked.min() <= picked.max() < 60000
    assert torch.equal(picked, sample(IMAGE, 4, 0))
    assert not torch.equal(picked, sample(IMAGE, 4, 1))


def test_all_patches_are_used_where_they_are_few():
    assert sample(torch.zeros(0, 2, 200, 300), 4, 0) is None
    assert sample(torch.zeros(1, 2, 64, 128), 1, 0) is None


def test_rows_are_bounded_by_their_number_and_their_work_but_not_below_two_for_each_number():
    assert len(sample(IMAGE, 1, 0, Effort(rows_per_site=50))) == 50
    assert len(sample(IMAGE, 1, 0, Effort(row_macs=4 * 30))) == 30
    assert len(sample(IMAGE, 1, 0, Effort(row_macs=0))) == 4


def test_wide_patches_get_rows_in_proportion_to_their_numbers_up_to_a_limit():
    wide = Convolution((4, 200, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
    image = torch.zeros(1, 200, 200, 300)
    assert len(sample_rows(wide, image, 1, 0, DEFAULT_EFFORT)) == 64 * 200
    assert len(sample_rows(wide, image, 1, 0, Effort(rows_per_site=9000))) == 9000
