"""A call on copies changes every view of what it writes, and nothing that it was given."""

import pytest
import torch

from worker.engine.formats.aten.copy_on_write import memory_of, on_copies
from worker.engine.program import NoProgramError


def doubled(tensor, *_):
    return (tensor.mul_(2),)


def test_views_change_along_and_the_originals_stay():
    whole = torch.arange(6.0).reshape(2, 3)
    row = whole[1]
    other = torch.ones(3)
    run = on_copies(doubled, takes=1, targets=[0], changed=[1, 2])
    result, new_row, same = run(whole, row, other)
    assert result.tolist() == [[0, 2, 4], [6, 8, 10]]
    assert new_row.tolist() == [6, 8, 10]
    assert memory_of(new_row) == memory_of(result) != memory_of(whole)
    assert same is other
    assert whole.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_lists_of_views_change_along():
    whole = torch.zeros(2, 2)
    run = on_copies(lambda tensor: (tensor.add_(1),), takes=1, targets=[0], changed=[1])
    _, pieces = run(whole, [whole[0], whole[1]])
    assert [piece.tolist() for piece in pieces] == [[1, 1], [1, 1]]
    assert not whole.any()


def test_memory_that_no_view_covers_is_not_followed():
    memory = torch.zeros(8)
    run = on_copies(doubled, takes=1, targets=[0], changed=[1])
    with pytest.raises(NoProgramError, match="share in a way that cannot be followed"):
        run(memory[:5], memory[3:7])
