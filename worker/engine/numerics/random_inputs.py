"""Random inputs to compare two models on."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.model import TensorSpec


def random_inputs(
    specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]], seed: int = 0
) -> dict[str, NDArray[np.generic]]:
    """Return one array an input: standard normal for floating point, else zeros.

    Zeros are valid as indices and as flags. A whole number without axes is the one that its shape
    is bound to.

    >>> specs = [TensorSpec("image", "float32", (None, 3)), TensorSpec("length", "int64", (1,))]
    >>> inputs = random_inputs(specs, {"image": (2, 3), "length": (1,)})
    >>> inputs["image"].shape, inputs["length"]
    ((2, 3), array([0]))
    """
    rng = np.random.default_rng(seed)
    inputs: dict[str, NDArray[np.generic]] = {}
    for spec in specs:
        dtype = np.dtype(spec.dtype)
        if spec.is_number:
            inputs[spec.name] = spec.number(shapes[spec.name])
        elif np.issubdtype(dtype, np.floating):
            inputs[spec.name] = rng.standard_normal(shapes[spec.name]).astype(dtype)
        else:
            inputs[spec.name] = np.zeros(shapes[spec.name], dtype)
    return inputs
