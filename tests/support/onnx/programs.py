"""ONNX models read as programs, their values, and the comparison with ONNX Runtime."""

import numpy as np
import torch

from support.onnx.text import outputs, written
from worker.engine.formats import open_model
from worker.engine.program import run


def program_of(path):
    """Read the model at `path` as a program."""
    return open_model("onnx", path).program()


def runtime_operators(program):
    """Return the operators of the steps that run in ONNX Runtime, in order."""
    return [
        step.op
        for step in program.steps
        if step.run.__qualname__.startswith("runtime_function")
    ]


def values_of(program, inputs):
    """Run a program on arrays by input name and return its outputs as arrays."""
    tensors = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
    with torch.no_grad():
        values = run(program, tensors)
    return [value.numpy() for value in values]


def agree(values, expected, rtol=1e-4, atol=1e-5):
    """Assert equal types, shapes and values; half precision is expected as float32."""
    for value, other in zip(values, expected, strict=True):
        is_half = other.dtype.name in ("float16", "bfloat16")
        wide = np.dtype(np.float32) if is_half else other.dtype
        assert value.dtype == wide
        assert value.shape == other.shape
        loose = 1e-2 if is_half else 0.0
        np.testing.assert_allclose(
            value, other.astype(wide), rtol=max(rtol, loose), atol=max(atol, loose)
        )


def agrees_with_the_runtime(tmp_path, text, shapes, opset=17):
    """Assert that a model of torch steps alone has ONNX Runtime's outputs on random inputs."""
    path = written(
        tmp_path, text, header=f'<ir_version: 8, opset_import: ["": {opset}]>'
    )
    generator = np.random.default_rng(0)
    inputs = {
        name: generator.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    program = program_of(path)
    agree(values_of(program, inputs), outputs(path, inputs))
    assert not runtime_operators(program)
