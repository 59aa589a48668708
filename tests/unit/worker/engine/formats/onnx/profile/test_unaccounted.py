"""Operators that an account leaves out: those with weights or products, and no counting rule."""

import pytest
from support.onnx.counting import counted

from worker.engine.formats.onnx.profile.unaccounted import NO_RULE

HEADER = '<ir_version: 8, opset_import: ["": 17, "acme": 1, "com.microsoft": 1]>'


def unaccounted(tmp_path, body, weights):
    text = (
        f"g (float[2, 8] x, float[2, 8] z) => (float[2, 8] y) <{weights}> {{ {body} }}"
    )
    return counted(tmp_path, text, header=HEADER).unaccounted


@pytest.mark.parametrize(
    ("body", "weights", "operator"),
    [
        ("y = acme.Mix(x, w)", "float[8, 8] w", "acme::Mix"),
        ("v = Transpose(w) y = acme.Mix(x, v)", "float[8, 8] w", "acme::Mix"),
        ("y = acme.Shift(x, w)", "float[8] w", None),
        ("y = Add(x, w)", "float[2, 8] w", None),
        (
            "i = Constant <value = int64[2] {0, 1}> () y = Gather(w, i)",
            "float[9, 8] w",
            None,
        ),
        ("y = com.microsoft.SkipLayerNormalization(x, z, w)", "float[8] w", None),
        (
            "y = com.microsoft.LongformerAttention(x, z)",
            "",
            "com.microsoft::LongformerAttention",
        ),
        ("y = MatMul(x, w)", "float[8, 8] w", None),
        (
            "n = SimplifiedLayerNormalization(x, g) y = Mul(n, w)",
            "float[8] g, float[2, 8] w",
            None,
        ),
        (
            "y = com.microsoft.QMoE <k = 1> (x, z, w, s, , v, s)",
            "uint8[8, 8, 4] w, float[8, 8] s, uint8[8, 8, 4] v",
            "com.microsoft::QMoE",
        ),
    ],
)
def test_what_has_weights_and_no_rule_is_left_out(tmp_path, body, weights, operator):
    operators = unaccounted(tmp_path, body, weights)
    if operator is None:
        assert operators == ()
    else:
        assert [(each.operator, each.reason) for each in operators] == [
            (operator, NO_RULE)
        ]
