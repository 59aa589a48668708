"""The outputs of a run of torch, by name, as arrays."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def named_outputs(value: Any, name: str) -> Iterator[tuple[str, NDArray[np.generic]]]:  # noqa: ANN401 - whatever comes out
    """Yield the tensors and numbers of a result, in order; text and None are no outputs.

    Outputs are named by their place: `output`, or `output_0`, `output_1` ... for several,
    `output_key` in a dictionary.
    """
    if isinstance(value, torch.Tensor):
        # numpy has no bfloat16, and float32 holds all of its numbers exactly.
        is_half = value.dtype is torch.bfloat16
        exact = value.float() if is_half else value
        yield name, exact.numpy(force=True)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from named_outputs(item, f"{name}_{key}")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from named_outputs(item, f"{name}_{index}")
    elif isinstance(value, int | float | complex):
        yield name, np.asarray(value)
