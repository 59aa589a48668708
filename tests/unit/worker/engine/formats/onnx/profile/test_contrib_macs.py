"""Costs of ONNX Runtime's own operators, by hand from the shapes of their operands."""

import pytest
from onnx import helper

from worker.engine.formats.onnx.profile.contrib_macs import CONTRIB_OPERATORS


def macs(kind, shapes, domain="com.microsoft", **attributes):
    node = helper.make_node(kind, ["x"], ["y"], domain=domain, **attributes)
    return CONTRIB_OPERATORS[f"{domain}::{kind}"].macs(node, shapes)


@pytest.mark.parametrize(
    ("kind", "shapes", "attributes", "expected"),
    [
        ("FusedConv", [(2, 3, 8, 8), (4, 3, 3, 3)], {}, 2 * 36 * 108),
        (
            "QLinearConv",
            [(2, 8, 8, 3), (4, 3, 3, 3)],
            {"channels_last": 1},
            2 * 36 * 108,
        ),
        ("NhwcConv", [(4, 3, 3, 3), (2, 6, 6, 4)], {}, 2 * 36 * 108),
        ("FusedGemm", [(3, 5), (7, 3)], {"transA": 1, "transB": 1}, 5 * 3 * 7),
        ("FusedMatMul", [(5, 3, 2), (3, 5, 4)], {"transA": 1, "transBatchB": 1}, 120),
        ("FusedMatMul", [(5,), (5,)], {"transA": 1}, 5),
        ("MatMulNBits", [(2, 5, 64)], {"K": 64, "N": 10}, 10 * 64 * 10),
        ("CDist", [(4, 6), (5, 6)], {}, 4 * 5 * 6),
        (
            "MoE",
            [(2, 5, 8), (3, 16, 8), (3, 8, 16), None],
            {"k": 2},
            10 * 2 * (128 + 128),
        ),
    ],
)
def test_products_and_convolutions(kind, shapes, attributes, expected):
    assert macs(kind, shapes, **attributes) == expected


def test_a_reordered_convolution_counts_by_its_output():
    shapes = [(8, 8, 3, 3), (2, 8, 6, 6)]
    assert macs("Conv", shapes, "com.microsoft.nchwc") == 2 * 36 * 8 * 8 * 9


@pytest.mark.parametrize(
    ("past", "attributes", "expected"),
    [
        (None, {}, 10 * 8 * 24 + 10 * 5 * (8 + 8)),
        ((2, 2, 2, 3, 4), {}, 10 * 8 * 24 + 10 * 8 * (8 + 8)),
        (None, {"qkv_hidden_sizes": [6, 6, 12]}, 10 * 8 * 24 + 10 * 5 * (6 + 12)),
    ],
)
def test_attention_with_its_projections(past, attributes, expected):
    shapes = [(2, 5, 8), (8, 24), past]
    assert macs("Attention", shapes, num_heads=2, **attributes) == expected


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(2, 5, 8), (2, 7, 8), (2, 7, 6), None], 10 * 7 * (8 + 6)),
        ([(2, 5, 8), (2, 4, 7, 2), (2, 4, 7, 3), None], 10 * 7 * (8 + 12)),
        ([(2, 5, 4, 3, 2), None, None, None], 10 * 5 * (8 + 8)),
        ([(2, 5, 8), (2, 7, 8), (2, 7, 8), (2, 4, 3, 2)], 10 * 10 * (8 + 8)),
    ],
)
def test_attention_without_projections(shapes, expected):
    assert macs("MultiHeadAttention", shapes) == expected


@pytest.mark.parametrize(("query", "key"), [((2, 5, 8), (2, 5, 4)), ((2, 5, 16), None)])
def test_heads_in_groups_attend_to_as_many_columns_as_there_are(query, key):
    shapes = [query, key, (2, 2, 9, 2)]
    heads = {"num_heads": 4, "kv_num_heads": 2}
    assert macs("GroupQueryAttention", shapes, **heads) == 2 * 10 * 9 * 8


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("GroupQueryAttention", [(2, 5, 8), None, None]),
        ("FusedConv", [(2, 3, 8), (4, 3, 3, 3)]),
        ("FusedGemm", [(3, 5), None]),
    ],
)
def test_shapes_that_do_not_fit_are_an_error(kind, shapes):
    with pytest.raises(ValueError, match=r"missing|kernel|operands"):
        macs(kind, shapes)
