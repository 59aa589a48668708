"""The outputs of a run of torch, by name, as arrays."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def named_outputs(value: Any, name: str) -> Iterator[tuple[str, NDArray[np.generic]]]:  # noqa: ANN401 - whatever comes out
    """Yield the tensors and numbers of a result as arrays, by the names of `named_leaves`."""
    for own_name, leaf in named_leaves(value, name):
        if isinstance(leaf, torch.Tensor):
            # numpy has no bfloat16, and float32 holds all of its numbers exactly.
            is_half = leaf.dtype is torch.bfloat16
            exact = leaf.float() if is_half else leaf
            yield own_name, exact.numpy(force=True)
        else:
            yield own_name, np.asarray(leaf)


def named_leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - whatever comes out
    """Yield the tensors and numbers of a result, in order; text and None are no outputs.

    Outputs are named by their place: `output`, or `output_0`, `output_1` ... for several,
    `output_key` in a dictionary.

    >>> list(named_leaves((1, [2.0, "text"], {"a": 3}), "output"))
    [('output_0', 1), ('output_1_0', 2.0), ('output_2_a', 3)]
    """
    if isinstance(value, dict):
        for key, item in value.items():
            yield from named_leaves(item, f"{name}_{key}")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from named_leaves(item, f"{name}_{index}")
    elif isinstance(value, torch.Tensor | int | float | complex):
        yield name, value
