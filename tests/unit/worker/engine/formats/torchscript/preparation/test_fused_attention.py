"""Fused attention, written out: the same numbers, and the same cost whichever way a run takes."""

import pytest
import torch
from support.torchscript.modules import assert_same, write
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from worker.engine.formats.torchscript.model import TorchScriptModel
from worker.engine.formats.torchscript.preparation.fused_attention import write_out

LENGTH, WIDTH, HEADS = 5, 8, 2
LATER = torch.ones(LENGTH, LENGTH).triu(1)
PADDED = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]])


def written_out(module, inputs):
    """Return a traced module without its fused operators."""
    with torch.no_grad():
        traced = torch.jit.trace(module.eval(), inputs, check_trace=False)
    graph = traced.inlined_graph.copy()
    assert "_native_multi_head" in str(graph) or "_transformer_encoder" in str(graph)
    write_out(graph)
    assert "_native_multi_head" not in str(graph)
    assert "_transformer_encoder" not in str(graph)
    return lambda *values: torch._C._create_function_from_graph("f", graph)(
        traced, *values
    )


class Layer(nn.Module):
    def __init__(self, causal, padded, **settings):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 16, batch_first=True, **settings
        )
        self.causal = causal
        self.padded = padded

    def forward(self, x):
        return self.layer(x, self.causal, self.padded)


@pytest.mark.parametrize("causal", [None, LATER.bool()])
@pytest.mark.parametrize("padded", [None, PADDED.bool()])
@pytest.mark.parametrize("settings", [{}, {"norm_first": True, "activation": "gelu"}])
def test_an_encoder_layer_keeps_its_outputs(settings, causal, padded):
    module = Layer(causal, padded, **settings)
    x = torch.rand(2, LENGTH, WIDTH)
    with torch.no_grad():
        torch.testing.assert_close(written_out(module, x)(x), module(x))


class Attention(nn.Module):
    """Attention of a value to itself, without weights or with them, of one head or of all."""

    def __init__(self, **settings):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.settings = settings

    def forward(self, x):
        return self.attention(x, x, x, **self.settings)[
            : 1 + self.settings["need_weights"]
        ]


@pytest.mark.parametrize(
    "settings",
    [
        {"need_weights": False},
        {"need_weights": True},
        {"need_weights": True, "average_attn_weights": False},
    ],
)
def test_attention_keeps_its_outputs(settings):
    module = Attention(**settings)
    x = torch.rand(2, LENGTH, WIDTH)
    with torch.no_grad():
        torch.testing.assert_close(written_out(module, x)(x), module(x))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        x = self.encoder(self.stem(x).flatten(2).transpose(1, 2))
        return self.attention(x, x, x, need_weights=False)[0]


SIZE = (1, 3, 16, 16)


def macs_by_products(module, x):
    """Count by torch's own counter; gradients make the module take its slow path."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(x)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    "how", ["traced", pytest.param("scripted", marks=pytest.mark.slow)]
)
def test_the_path_that_inference_takes_is_counted_and_replaced(tmp_path, how):
    module = Encoder().eval()
    x = torch.rand(SIZE)
    if how == "scripted":
        original = torch.jit.script(module)
    else:
        with torch.no_grad():
            original = torch.jit.trace(module, x, check_trace=False)
    model = TorchScriptModel.open(write(tmp_path, original))
    count = model.count({"x": SIZE})
    assert count.macs == macs_by_products(module, x)
    sites = [site for site in count.sites if site.reason is None]
    names = {site.name.rpartition(".")[2] for site in sites}
    assert names == {"stem", "in_proj_weight", "out_proj", "linear1", "linear2"}
    for site in sites:
        layer = model.layer(site)
        layer.weight[:] *= (
            2  # a change that shows in whatever path still reads the old weight
        )
        model.replace(site, [layer])
    model.save(tmp_path / "doubled.pt")
    doubled = torch.jit.load(tmp_path / "doubled.pt")
    with torch.no_grad():
        without_gradients = torch.jit.load(tmp_path / "doubled.pt")(x)
        assert not torch.allclose(without_gradients, module(x))
    assert_same(without_gradients, doubled(x))
    weights = [
        name for name, tensor in doubled.state_dict().items() if tensor.dim() > 1
    ]
    assert all("_factored" in name for name in weights)
