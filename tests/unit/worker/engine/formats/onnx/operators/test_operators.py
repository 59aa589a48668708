"""The table of operators: against ONNX's own cases, and rarer forms against ONNX Runtime."""

import warnings
from collections import defaultdict
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from support.onnx.programs import (
    agree,
    agrees_with_the_runtime,
    program_of,
    runtime_operators,
    values_of,
)
from support.onnx.text import written

from convpress.refusal import Refusal
from worker.engine.formats.onnx.operators import TABLE
from worker.engine.program import NoProgramError

NEWEST_OPSET_OF_THE_RUNTIME = 26
UNLIKE_THE_RUNTIME = {
    "test_resize_downsample_scales_linear_align_corners",
    "test_resize_downsample_scales_cubic_align_corners",
}
RANDOM = {"test_training_dropout", "test_training_dropout_mask"} | {
    f"test_training_dropout_default{mask}" for mask in ("", "_mask")
}


def small_volume(randn, *shape):
    """Random numbers: 8x8x8 of them in place of 32x32x32.

    ONNX pools volumes of this shape in Python when its cases are imported, which takes seconds.
    """
    if shape == (1, 3, 32, 32, 32):
        shape = (1, 3, 8, 8, 8)
    return randn(*shape)


@pytest.fixture(scope="module")
def cases():
    """ONNX's own cases of one node, by operator."""
    examples = defaultdict(list)
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter(
            "ignore"
        )  # cases of overflow and division by zero, made on import
        patch.setattr(np.random, "randn", partial(small_volume, np.random.randn))
        for case in load_model_tests(kind="node"):
            nodes = case.model.graph.node
            if (
                len(nodes) == 1
                and not nodes[0].domain
                and case.name not in RANDOM | UNLIKE_THE_RUNTIME
            ):
                examples[nodes[0].op_type].append(case)
    return examples


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
        except (
            NoProgramError,
            Refusal,
        ):  # types that ONNX Runtime cannot take, or that cannot be handed on
            continue
        in_torch += not runtime_operators(program)
        for given_, expected in case.data_sets:
            given_ = [_array(value) for value in given_]
            expected = [_array(value) for value in expected]
            if all(
                isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
                for value in (*given_, *expected)
            ):
                with np.errstate(all="ignore"):
                    actual = values_of(
                        program, dict(zip(program.inputs, given_, strict=True))
                    )
                try:
                    agree(actual, expected, rtol=1e-3)
                except AssertionError as error:
                    raise AssertionError(case.name) from error
    assert in_torch or operator == "GlobalLpPool"  # of which ONNX has no case


def _array(value):
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value)


FORMS = [
    # opset, nodes, shape of x: forms of operators that ONNX's cases, written for newer opsets,
    # leave out
    (12, "y = Softmax (x)", (2, 3, 4, 5)),
    (11, "y = Softmax <axis = 2> (x)", (2, 3, 4, 5)),
    (12, "y = LogSoftmax <axis = -2> (x)", (2, 3, 4)),
    (13, "y = LogSoftmax (x)", (2, 3, 4)),
    (9, "y = Slice <starts = [1, -3], ends = [9, -1], axes = [0, 2]> (x)", (3, 4, 5)),
    (9, "y = Slice <starts = [1, 0], ends = [2, 2]> (x)", (3, 4, 5)),
    (10, 'y = Pad <pads = [0, 1, 2, 0], mode = "reflect"> (x)', (3, 4)),
    (10, "y = Pad <pads = [1, 0, 0, 2], value = 3.5> (x)", (3, 4)),
    (10, 'y = Pad <pads = [1, 0, 0, -2], mode = "edge"> (x)', (3, 4)),
    (
        10,
        'y = Pad <pads = [0, 0, 2, 3, 0, 0, 1, 4], mode = "reflect"> (x)',
        (1, 2, 5, 6),
    ),
    (10, "y = Clip <min = -0.5, max = 0.5> (x)", (3, 4)),
    (10, "y = Clip <max = 0.5> (x)", (3, 4)),
    (10, "y = Clip (x)", (3, 4)),
    (
        12,
        "a, b, c = Split <axis = 1, split = [1, 3, 2]> (x) y = Concat <axis = 1> (c, a, b)",
        (2, 6),
    ),
    (12, "a, b = Split <axis = -1> (x) y = Concat <axis = 0> (b, a)", (2, 6)),
    (
        18,
        "a, b, c = Split <axis = 1, num_outputs = 3> (x) y = Concat <axis = 1> (c, a, b)",
        (2, 7),
    ),
    (
        12,
        "s = Squeeze <axes = [0, -1]> (x) y = Unsqueeze <axes = [0, 3]> (s)",
        (1, 3, 4, 1),
    ),
    (12, "y = Squeeze (x)", (1, 3, 4, 1)),
    (12, "y = ReduceSum <axes = [1, -1], keepdims = 0> (x)", (2, 3, 4)),
    (12, "y = ReduceSum (x)", (2, 3, 4)),
    (17, "y = ReduceMean <axes = [-1]> (x)", (2, 3, 4)),
    (17, "y = ReduceMax <axes = [0, 1]> (x)", (2, 3, 4)),
    (17, "y = ReduceL2 (x)", (2, 3, 4)),
    (9, "y, i = TopK <axis = 1, k = 2> (x)", (3, 4)),
    (8, "y = Upsample <scales = [1., 1., 2., 3.]> (x)", (1, 2, 3, 4)),
    (8, 'y = Upsample <mode = "linear", scales = [1., 1., 2., 2.]> (x)', (1, 2, 3, 4)),
    (9, "y = Upsample (x, up)", (1, 2, 3, 4)),
    (10, "y = Resize (x, down)", (1, 2, 5, 4)),
    (10, 'y = Resize <mode = "linear"> (x, down)', (1, 2, 5, 4)),
    (9, "y, m = Dropout (x)", (3, 4)),
    (8, "y = BatchNormalization (x, v, v, v, w)", (2, 3, 4)),
    (9, "y = BatchNormalization (x, v, v, v, w)", (2, 3)),
    (15, "y = BatchNormalization <epsilon = 0.1> (x, v, v, v, w)", (2, 3, 4, 5, 2)),
    (17, "y = GlobalLpPool <p = 3> (x)", (2, 3, 4, 5)),
    (17, "y = LRN <size = 5, alpha = 0.5, bias = 0.9> (x)", (2, 7, 4, 5)),
    (17, "y = InstanceNormalization (x, v, w)", (2, 3, 1)),
    (17, "y = Gemm <transA = 1, alpha = 0.5, beta = 2.0> (x, matrix, v)", (4, 2)),
    (17, "y = Gemm (x, matrix, v)", (2, 4)),
    (17, "y = Gemm (x, matrix)", (2, 4)),
    (17, "y = DepthToSpace <blocksize = 2> (x)", (1, 8, 2, 3)),
    (17, "y = SpaceToDepth <blocksize = 2> (x)", (1, 3, 4, 6)),
    (
        17,
        "y = MaxPool <kernel_shape = [3, 3], pads = [2, 2, 2, 2], strides = [2, 2]> (x)",
        (1, 2, 5, 6),
    ),
    (17, 'y = Einsum <equation = "...ij, jk -> ...ik"> (x, matrix)', (2, 3, 4)),
    (17, "c = Constant <value_ints = [0, 0, -1]> () y = Reshape (x, c)", (2, 3, 4)),
    (17, "s = Shape <start = 1> (x) r = ConstantOfShape (s) y = Add (x, r)", (2, 3, 4)),
    (17, "i = Constant <value_int = -1> () y = Gather <axis = 1> (x, i)", (2, 3)),
    (17, "y = Transpose (x)", (2, 3, 4)),
    (17, "p = Constant <value_float = 2.0> () y = Pow (x, p)", (2, 3)),
]


@pytest.mark.parametrize(("opset", "nodes", "shape"), FORMS)
def test_older_and_rarer_forms_of_operators(tmp_path, opset, nodes, shape):
    weights = (
        "float[3] v = {1.0, 2.0, 0.5}, float[3] w = {0.5, 1.5, 2.5}, float[4, 3] matrix, "
        "float[4] up = {1.0, 1.0, 1.5, 2.5}, float[4] down = {1.0, 1.0, 0.6, 2.0}"
    )
    agrees_with_the_runtime(
        tmp_path,
        f"g (float{list(shape)} x) => (float y) <{weights}> {{ {nodes} }}",
        {"x": shape},
        opset,
    )
