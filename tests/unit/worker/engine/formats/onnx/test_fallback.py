"""Nodes that torch cannot compute run in ONNX Runtime."""

import numpy as np
import pytest
import torch
from support.onnx.programs import agree, program_of, runtime_operators, values_of
from support.onnx.text import outputs, written

from worker.engine.program import NoProgramError, run

LEFT = [
    # the operator that is left, the model's output, its nodes
    ("com.microsoft::QuickGelu", "y", "y = com.microsoft.QuickGelu <alpha = 1.5> (x)"),
    (
        "Resize",
        "y",
        'h = Relu (x) y = Resize <mode = "linear", antialias = 1> (h, , half)',
    ),
    (
        "MaxPool",
        "z",
        "y, i = MaxPool <kernel_shape = [2, 2]> (x) f = Cast <to = 1> (i) z = Sub (y, f)",
    ),
    (
        "BatchNormalization",
        "z",
        "y, m, v = BatchNormalization <training_mode = 1> (x, two, two, mean, two) z = Add (m, v)",
    ),
    (
        "If",
        "y",
        """s = ReduceSum <keepdims = 0> (x) z = Constant <value_float = 0.0> () c = Greater (s, z)
            h = Relu (x)
        y = If (c) <then_branch = t () => (float p) { p = Mul (h, w) },
                    else_branch = e () => (float n) { n = Neg (h) }>""",
    ),
    (
        "Loop",
        "y",
        """n = Constant <value_int = 3> ()
        y, o = Loop (n, , x) <body = b (int64 i, bool k, float s) => (bool l, float r, float t) {
            l = Identity (k) r = Mul (s, w) t = Add (r, x) }>""",
    ),
]


@pytest.mark.parametrize(("left", "output", "nodes"), LEFT)
def test_what_the_table_does_not_cover_is_run_by_the_runtime(
    tmp_path, left, output, nodes
):
    weights = """float[1, 2, 1, 1] w, float[2] two = {1.0, 2.0}, float[2] mean = {0.5, 0.0},
        float[4] half = {1.0, 1.0, 0.5, 0.5}"""
    text = f"g (float[1, 2, 4, 4] x) => (float {output}) <{weights}> {{ {nodes} }}"
    path = written(
        tmp_path,
        text,
        header='<ir_version: 8, opset_import: ["": 18, "com.microsoft": 1]>',
    )
    x = {"x": np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)}
    program = program_of(path)
    assert runtime_operators(program) == [left]
    agree(values_of(program, x), outputs(path, x))


def test_gradients_stop_at_a_step_of_the_runtime(tmp_path):
    path = written(
        tmp_path,
        "g (float[1, 2] x) => (float y) { h = Relu (x) l = Hardmax (h) y = Add (l, x) }",
    )
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    run(program_of(path), {"x": x})[0].sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0]]


def test_types_that_cannot_be_handed_on_are_named(tmp_path):
    text = """<ir_version: 9, opset_import: ["": 19]> g (float[2] x) => (float y)
        { q = Cast <to = 17> (x) y = Cast <to = 1> (q) }"""
    with pytest.raises(NoProgramError, match=r"Cast works on tensor\(float8e4m3fn\)"):
        program_of(written(tmp_path, text))
