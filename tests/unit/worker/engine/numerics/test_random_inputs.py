"""Random inputs: normal numbers, zeros for indices, and numbers that stand in for shapes."""

import numpy as np

from worker.engine.model import TensorSpec
from worker.engine.numerics.random_inputs import random_inputs

SPECS = [
    TensorSpec("image", "float16", None),
    TensorSpec("index", "int32", (2,)),
    TensorSpec("flag", "bool", (1,)),
    TensorSpec("rate", "int64", ()),
]
SHAPES = {"image": (1000,), "index": (2,), "flag": (1,), "rate": (16000,)}


def test_each_input_has_its_type_and_values_that_are_valid():
    inputs = random_inputs(SPECS, SHAPES)
    assert [inputs[spec.name].dtype.name for spec in SPECS] == [
        spec.dtype for spec in SPECS
    ]
    assert abs(inputs["image"].astype(np.float32).std() - 1) < 0.1
    assert not inputs["index"].any()
    assert not inputs["flag"].any()
    assert inputs["rate"] == 16000


def test_the_seed_decides():
    first, same = (random_inputs(SPECS, SHAPES)["image"] for _ in range(2))
    other = random_inputs(SPECS, SHAPES, seed=1)["image"]
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
