"""What forms of two layers have in common: their ranks, and pointwise layers."""

from itertools import pairwise
from types import SimpleNamespace

import pytest

from worker.engine.decompose import randomized_range
from worker.engine.decompose.two_layers import TwoLayers, pointwise
from worker.engine.numerics.convolution import Convolution


class Sides(TwoLayers):
    """A form of a matrix with these sides."""

    @property
    def sides(self):
        return self.variant

    def geometry(self, rank):
        return SimpleNamespace(first=rank), SimpleNamespace(second=rank)

    def partition(self, target):
        raise NotImplementedError


def form(*sides):
    return Sides(None, "a form", sides)


def test_the_shorter_side_is_the_exact_rank():
    assert list(form(5, 9).ranks) == [1, 2, 3, 4, 5]
    assert list(form(9, 5).ranks) == [1, 2, 3, 4, 5]


def test_ranks_whose_errors_are_estimated_are_fewer():
    ranks = form(4000, 5000).ranks
    width = randomized_range.width(4000, 5000)
    assert width < 4000
    assert ranks[:width] == tuple(range(1, width + 1))
    steps = {after - before for before, after in pairwise(ranks[width:-1])}
    assert steps == {32}
    assert ranks[-1] == 4000


def test_the_exact_rank_has_no_error_and_needs_no_partition():
    assert form(5, 9).errors(None, [5]).tolist() == [0]
    with pytest.raises(NotImplementedError):
        form(5, 9).errors(None, [4, 5])


@pytest.mark.parametrize(
    ("axes", "groups", "expected"),
    [
        (2, 1, Convolution((8, 4, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))),
        (1, 3, Convolution((24, 4, 1), (1,), ((0, 0),), (1,), 3)),
        (0, 1, Convolution((8, 4), (), (), ())),
    ],
)
def test_a_pointwise_layer_has_one_offset(axes, groups, expected):
    assert pointwise(4, 8, axes, groups) == expected
