"""Random inputs to compare two models on."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.model import TensorSpec
from worker.engine.numerics.neutral_inputs import is_mask, is_position, neutral

# Bytes with more axes than this are pixels.
_MOST_AXES_OF_INDICES = 2


def random_inputs(
    specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]], seed: int = 0
) -> dict[str, NDArray[np.generic]]:
    """Return one array an input.

    Floating-point numbers are standard normal, pixels are random bytes, and whole numbers that
    select rows are random among these. Values that are bound to an input in place of a shape are
    its values. All else is neutral.

    >>> specs = [TensorSpec("image", "float32", (None, 3)), TensorSpec("index", "int64", (1,))]
    >>> inputs = random_inputs(specs, {"image": (2, 3), "index": (1,)})
    >>> inputs["image"].shape, inputs["index"]
    ((2, 3), array([0]))
    """
    rng = np.random.default_rng(seed)
    inputs: dict[str, NDArray[np.generic]] = {}
    for spec in specs:
        shape = shapes[spec.name]
        dtype = np.dtype(spec.dtype)
        stated = spec.stated(shape)
        is_pixels = dtype in (np.uint8, np.int8) and len(shape) > _MOST_AXES_OF_INDICES
        if stated is not None:
            inputs[spec.name] = stated
        elif is_mask(spec) and len(shape) <= _MOST_AXES_OF_INDICES:
            inputs[spec.name] = neutral(spec, specs, shapes)
        elif np.issubdtype(dtype, np.floating):
            normal = rng.standard_normal(shape)
            inputs[spec.name] = normal.astype(dtype)
        elif is_pixels:
            limits = np.iinfo(dtype)
            whole = rng.integers(limits.min, limits.max + 1, shape)
            inputs[spec.name] = whole.astype(dtype)
        elif spec.rows is not None and not is_position(spec):
            indices = rng.integers(0, spec.rows, shape)
            inputs[spec.name] = indices.astype(dtype)
        else:
            inputs[spec.name] = neutral(spec, specs, shapes)
    return inputs
