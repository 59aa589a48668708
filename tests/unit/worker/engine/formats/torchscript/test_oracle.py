"""The count against torch's own counter, which knows nothing of sites, rules or graphs."""

from itertools import product

import pytest
import torch
from support.torchscript.counting_oracle import counted_by_torch
from support.torchscript.modules import write
from torch import nn
from torch.nn.utils import parametrizations

from worker.engine.formats.torchscript.model import TorchScriptModel

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")

WIDTH, HEADS = 8, 2
TOKENS = (2, 6, WIDTH)


def encoder_layer(**settings):
    return nn.TransformerEncoderLayer(WIDTH, HEADS, 12, batch_first=True, **settings)


class Cross(nn.Module):
    """A decoder: attention to itself, and to a memory of another length."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 12, batch_first=True)

    def forward(self, x):
        return self.layer(x[:, :4], x)


class Weighted(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(
            WIDTH, HEADS, batch_first=True, kdim=4, vdim=4
        )

    def forward(self, x):
        return self.attention(x, x[..., :4], x[..., 4:])


class Kernel(nn.Module):
    def forward(self, x):
        heads = x.unflatten(-1, [2, -1]).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(
            heads, heads, heads, is_causal=True
        )


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, 5, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(10, 3, batch_first=True)

    def forward(self, x):
        return self.gru(self.lstm(x)[0])[0]


class Sums(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(HEADS, WIDTH, 3))

    def forward(self, x):
        y = torch.einsum("btc,hcd->bhtd", x, self.weight)
        return torch.baddbmm(torch.zeros(1), x, x.mT), y, torch.bmm(x, self.weight)


class Unaveraged(nn.Module):
    """Attention that returns the weights of each head, with keys of its own."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(
            WIDTH, HEADS, batch_first=True, add_bias_kv=True, add_zero_attn=True
        )

    def forward(self, x):
        return self.attention(x, x, x, average_attn_weights=False)


class Cells(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.gru = nn.LSTMCell(WIDTH, 5), nn.GRUCell(5, 3)
        self.rnn = nn.RNNCell(3, 4)

    def forward(self, x):
        return self.rnn(self.gru(self.lstm(x[:, 0])[0]))


class Contractions(nn.Module):
    """The operators of other products of matrices, and a weight that is computed."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.rand(WIDTH, 6))
        self.two = nn.Parameter(torch.rand(6, 5))
        self.parts = nn.ParameterList([torch.rand(3, 4), torch.rand(2, 2)])

    def forward(self, x):
        chain = torch.linalg.multi_dot([x[0], self.one, self.two])
        inner = torch.inner(x, self.one.t())
        summed = torch.tensordot(x, self.one, dims=([2], [0]))
        mixed = torch.einsum("bti,ij,jk->btk", x, self.one, self.two)
        weight = torch.kron(self.parts[0], self.parts[1])
        return chain, inner + summed, mixed, nn.functional.linear(x, weight)


MODULES = {
    "attention with weights of each head": Unaveraged,
    "cells": Cells,
    "contractions": Contractions,
    "encoder layer": encoder_layer,
    "encoder layer, norm first": lambda: encoder_layer(
        norm_first=True, activation="gelu"
    ),
    "encoder": lambda: nn.TransformerEncoder(encoder_layer(), 2),
    "decoder layer": Cross,
    "attention with weights": Weighted,
    "attention kernel": Kernel,
    "recurrent": Recurrent,
    "sums of products": Sums,
    "layers": lambda: nn.Sequential(
        nn.Conv1d(6, 4, 3, groups=2, padding="same"),
        parametrizations.spectral_norm(nn.Linear(WIDTH, WIDTH)),
        nn.ConvTranspose1d(4, 6, 3, stride=2),
    ),
}
NOT_SCRIPTED = ("layers",)
# Scripts of these take seconds each; traces of them stay, and scripts of the others.
SLOW = [
    (name, "scripted")
    for name in (
        "encoder layer",
        "encoder layer, norm first",
        "encoder",
        "decoder layer",
        "attention with weights of each head",
        "attention with weights",
        "recurrent",
    )
]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        pytest.param(*case, marks=[pytest.mark.slow] * (case in SLOW))
        for case in product(MODULES, ("traced", "scripted"))
    ],
)
def test_the_count_is_that_of_torchs_own_counter(tmp_path, name, how):
    if how == "scripted" and name in NOT_SCRIPTED:
        pytest.skip("parametrised layers cannot be scripted")
    module = MODULES[name]().eval()
    x = torch.rand(TOKENS)
    with torch.no_grad():
        program = (
            torch.jit.script(module)
            if how == "scripted"
            else torch.jit.trace(module, x)
        )
    model = TorchScriptModel.open(write(tmp_path, program))
    count = model.count(model.bind({"": TOKENS}))
    assert count.macs == counted_by_torch(module, x)
    assert count.unaccounted == ()
