"""Products that are no layers: their costs, and the reasons why they stay."""

import pytest
import torch
from support.onnx.counting import counted
from torch.utils.flop_counter import FlopCounterMode

RECURRENT = "recurrent layers are not factored"


ACTIVATIONS = "it is a product of activations"


NO_WEIGHT = "it is a product of two activations and has no weight"


INTEGERS = "it computes with integers"


OTHERS = {
    "LSTM": (
        "o, h = LSTM <hidden_size = 4> (x, w, r)",
        5 * 2 * 16 * (8 + 4),
        RECURRENT,
    ),
    "GRU": (
        "o, h = GRU <hidden_size = 4> (x, w3, r3)",
        5 * 2 * 12 * (8 + 4),
        RECURRENT,
    ),
    "Einsum": (
        'e = Einsum <equation = "sbi,tbi->bst"> (x, x)',
        2 * 5 * 5 * 8,
        NO_WEIGHT,
    ),
    "Einsum with dots": (
        'e = Einsum <equation = "...i,jki->j..."> (x, w)',
        5 * 2 * 8 * 16,
        "it is an Einsum",
    ),
    "MatMulInteger": ("e = MatMulInteger(q, p)", 5 * 2 * 8 * 3, INTEGERS),
    "ConvInteger": (
        "e = ConvInteger <pads = [1, 1]> (q, k)",
        5 * 8 * 4 * 2 * 3,
        INTEGERS,
    ),
    "QLinearConv": (
        "e = QLinearConv(q, s, z, k, s, z, s, z)",
        5 * 6 * 4 * 2 * 3,
        INTEGERS,
    ),
    "QLinearMatMul": (
        "e = QLinearMatMul(q, s, z, p, s, z, s, z)",
        5 * 2 * 8 * 3,
        INTEGERS,
    ),
    "Attention": (
        "e = Attention <q_num_heads = 2, kv_num_heads = 1> (x, y, y)",
        5 * 2 * 2 * 3 * (4 + 4),
        ACTIVATIONS,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_products_that_are_no_layers_are_counted_and_left(tmp_path, name):
    body, macs, reason = OTHERS[name]
    count = counted(
        tmp_path,
        f"""<ir_version: 11, opset_import: ["": 23]>
        g (float[5, 2, 8] x, uint8[5, 2, 8] q, float[5, 3, 4] y) => (float out)
            <float[1, 16, 8] w, float[1, 16, 4] r, float[1, 12, 8] w3, float[1, 12, 4] r3,
                uint8[8, 3] p,
             uint8[4, 2, 3] k, float s, uint8 z> {{ {body}  out = ReduceMean <keepdims = 0>
             (x) }}""",
    )
    assert [(site.macs, site.reason) for site in count.sites] == [(macs, reason)]


def test_attention_costs_what_its_products_cost(tmp_path):
    """The oracle is torch, which counts the products that attention consists of."""
    q = torch.zeros(2, 6, 5, 8)
    k = torch.zeros(2, 6, 7, 8)
    v = torch.zeros(2, 6, 7, 4)
    with FlopCounterMode(display=False) as counter:
        (q @ k.mT).softmax(-1) @ v
    count = counted(
        tmp_path,
        """<ir_version: 11, opset_import: ["": 23]>
        g (float[2, 6, 5, 8] q, float[2, 6, 7, 8] k, float[2, 6, 7, 4] v) => (float[2, 6, 5, 4] y) {
            y = Attention(q, k, v) }""",
    )
    assert 2 * count.macs == counter.get_total_flops()
