"""ONNX models as programs: every operator against ONNX's own cases, every form of it against ONNX Runtime."""

import warnings
from collections import defaultdict

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx_text import outputs, written

from contract.refusal import Refusal
from worker.engine.formats import open_model
from worker.engine.formats.onnx_operators import TABLE
from worker.engine.program import NoProgramError, run

NEWEST_OPSET_OF_THE_RUNTIME = 26
UNLIKE_THE_RUNTIME = {
    "test_resize_downsample_scales_linear_align_corners",
    "test_resize_downsample_scales_cubic_align_corners",
}
RANDOM = {"test_training_dropout", "test_training_dropout_mask"} | {
    f"test_training_dropout_default{mask}" for mask in ("", "_mask")
}


def program_of(path):
    return open_model("onnx", path).program()


def left_to_the_runtime(program):
    return [step.op for step in program.steps if step.run.__qualname__.startswith("single")]


def values_of(program, inputs):
    with torch.no_grad():
        found = run(program, {name: torch.from_numpy(array.copy()) for name, array in inputs.items()})
    return [value.numpy() for value in found]


def agree(found, expected, rtol=1e-4, atol=1e-5):
    for one, other in zip(found, expected, strict=True):
        wide = np.float32 if other.dtype.name in ("float16", "bfloat16") else other.dtype
        assert one.dtype == wide
        assert one.shape == other.shape
        loose = 1e-2 if wide != other.dtype else 0.0
        np.testing.assert_allclose(one, other.astype(wide), rtol=max(rtol, loose), atol=max(atol, loose))


def as_the_runtime(tmp_path, text, shapes, opset=17, native=True, seed=0):
    """Check the whole model against ONNX Runtime; return the program."""
    path = written(tmp_path, text, header=f'<ir_version: 8, opset_import: ["": {opset}]>')
    generator = np.random.default_rng(seed)
    inputs = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    program = program_of(path)
    agree(values_of(program, inputs), outputs(path, inputs))
    assert bool(left_to_the_runtime(program)) != native
    return program


@pytest.fixture(scope="module")
def cases():
    """ONNX's own cases of one node, by operator."""
    found = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cases of overflow and division by zero, made on import
        for case in load_model_tests(kind="node"):
            nodes = case.model.graph.node
            if len(nodes) == 1 and not nodes[0].domain and case.name not in RANDOM | UNLIKE_THE_RUNTIME:
                found[nodes[0].op_type].append(case)
    return found


@pytest.mark.parametrize("operator", sorted(TABLE))
def test_the_table_gives_what_onnx_expects(tmp_path, cases, operator):
    in_torch = 0
    for case in cases[operator]:
        proto = onnx.ModelProto()
        proto.CopyFrom(case.model)
        proto.ir_version = min(proto.ir_version, 10)
        for entry in proto.opset_import:
            entry.version = min(max(entry.version, 7), NEWEST_OPSET_OF_THE_RUNTIME)
        try:
            program = program_of(written(tmp_path, proto))
        except (NoProgramError, Refusal):  # types that ONNX Runtime cannot take, or that cannot be handed on
            continue
        in_torch += not left_to_the_runtime(program)
        for given_, expected in case.data_sets:
            given_, expected = ([_array(value) for value in values] for values in (given_, expected))
            if all(isinstance(value, np.ndarray) and value.dtype.kind in "biuf" for value in (*given_, *expected)):
                with np.errstate(all="ignore"):
                    found = values_of(program, dict(zip(program.inputs, given_, strict=True)))
                try:
                    agree(found, expected, rtol=1e-3)
                except AssertionError as error:
                    raise AssertionError(case.name) from error
    assert in_torch or operator == "GlobalLpPool"  # of which ONNX has no case


def _array(value):
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value)
