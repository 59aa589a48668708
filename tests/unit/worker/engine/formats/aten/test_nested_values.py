"""Tensors within lists, tuples, dictionaries and named tuples."""

from typing import NamedTuple

import torch

from worker.engine.formats.aten.nested_values import (
    leaves,
    map_tensors,
    tensors_in,
)


class Pair(NamedTuple):
    """A named tuple, which takes its items one by one."""

    first: object
    second: object


ONE = torch.tensor(1)
TWO = torch.tensor(2)
NESTED = [ONE, {"a": (TWO, None)}, Pair("text", [ONE])]


def test_every_tensor_is_yielded_in_order():
    assert [tensor.item() for tensor in tensors_in(NESTED)] == [1, 2, 1]


def test_the_structure_stays_when_tensors_change():
    doubled = map_tensors(NESTED, lambda tensor: 2 * tensor)
    assert doubled == [2, {"a": (4, None)}, Pair("text", [2])]
    assert isinstance(doubled[2], Pair)
    assert NESTED[0] is ONE


def test_leaves_are_tensors_and_numbers():
    assert list(leaves([ONE, 2.5, "text", {"a": None, "b": (3,)}])) == [ONE, 2.5, 3]
