"""A rewritten module keeps all that was not replaced, and drops what nothing reads."""

import pytest
import torch
from support.torchscript.modules import (
    Looped,
    Net,
    Shared,
    assert_same,
    rewrite,
    scripted,
)
from torch import nn

from worker.engine.formats.torchscript import runner


class Measured(Shared):
    """The same, whose weight something else reads besides."""

    def forward(self, x):
        return self.b(torch.relu(self.a(x))) * self.a.weight.mean()


def test_what_was_not_touched_keeps_its_names_values_and_modes(tmp_path):
    x = torch.randn(2, 3, 9, 9)
    _, original, rewritten = rewrite(
        tmp_path, scripted(Net()), x, only="blocks.0.conv1"
    )
    before = original.state_dict()
    after = rewritten.state_dict()
    for name, tensor in before.items():
        if name != "blocks.0.conv1.weight":
            assert torch.equal(after[name], tensor)
    assert after["blocks.0.conv1.weight"].numel() == 0
    assert {name for name in after if name not in before} == {
        "blocks_0_conv1_factored.0.weight",
        "blocks_0_conv1_factored.1.weight",
    }
    assert not rewritten.training
    assert_same(rewritten.double()(x.double()), original.double()(x.double()))
    torch.manual_seed(0)
    trained = original.train()(x.double())
    assert_same(rewritten.train()(x.double()), trained)
    assert getattr(rewritten.blocks, "1").scale == 1.5


def test_a_weight_that_something_else_reads_stays(tmp_path):
    x = torch.randn(1, 4, 8, 8)
    _, original, rewritten = rewrite(tmp_path, scripted(Measured()), x)
    assert_same(rewritten(x), original(x))
    assert rewritten.state_dict()["a.weight"].numel() == 4 * 4 * 9
    assert rewritten.state_dict()["a_factored.0.weight"].numel() == 4 * 9 * 9


def test_a_replaced_weight_is_dropped_by_all_its_names(tmp_path):
    """A traced graph reads an aliased module by one name; the other would keep the weight alive."""
    x = torch.randn(1, 4, 8, 8)
    _, original, rewritten = rewrite(
        tmp_path, torch.jit.trace(Shared().eval(), x), x, make=lambda layer: [layer]
    )
    assert_same(rewritten(x), original(x))
    after = rewritten.state_dict()
    assert set(original.state_dict()) <= set(after)
    assert {name for name in after if after[name].numel()} == {
        "a_factored.0.weight",
        "a_factored.0.bias",
    }


def test_a_model_that_was_factored_can_be_factored_again(tmp_path):
    x = torch.randn(1, 4, 8, 8)
    _, original, once = rewrite(tmp_path, scripted(Looped()), x)
    count, _, twice = rewrite(tmp_path, once, x)
    assert [site.name for site in count.sites] == ["conv_factored.0", "conv_factored.1"]
    assert_same(twice(x), original(x))


def test_half_precision_stays_half_precision(tmp_path):
    x = torch.randn(1, 3, 9, 9)
    _, _, rewritten = rewrite(
        tmp_path, scripted(Net()).half(), x.half(), make=lambda layer: [layer]
    )
    assert {
        tensor.dtype
        for tensor in rewritten.state_dict().values()
        if tensor.is_floating_point()
    } == {torch.half}


class OfTwoTypes(nn.Module):
    def __init__(self):
        super().__init__()
        self.brief = nn.Conv2d(3, 4, 3).bfloat16()
        self.single = nn.Conv2d(4, 5, 3)

    def forward(self, x):
        return self.single(self.brief(x.to(torch.bfloat16)).relu().float())


def test_a_module_of_two_types_keeps_both(tmp_path):
    x = torch.randn(1, 3, 9, 9)
    _, original, rewritten = rewrite(
        tmp_path, scripted(OfTwoTypes()), x, make=lambda layer: [layer]
    )
    types = {
        name.partition("_")[0]: tensor.dtype
        for name, tensor in rewritten.state_dict().items()
        if "factored" in name
    }
    assert types == {"brief": torch.bfloat16, "single": torch.float32}
    assert_same(rewritten(x), original(x))


class WithoutWeights(nn.Module):
    """Attention that returns None for its weights, which torch's fast path cannot."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)


def test_attention_that_returns_no_weights_keeps_its_outputs(tmp_path):
    module = WithoutWeights().eval()
    x = torch.rand(2, 5, 8)
    count, _, after = rewrite(tmp_path, torch.jit.script(module), x)
    assert all(site.reason is None for site in count.sites if site.weight_shape)
    expected = module(x)[0]
    with torch.no_grad():
        output, weights = after(x)
    assert weights is None
    assert_same(output, expected)
    outputs = runner.load(tmp_path / "model.pt")({"x": x.numpy()})
    assert list(outputs) == list(runner.load(tmp_path / "out.pt")({"x": x.numpy()}))
    assert_same(torch.from_numpy(outputs["output_0"]), expected)


def test_the_sites_name_the_submodules_that_cannot_be_called_by_themselves(tmp_path):
    x = torch.randn(1, 3, 9, 9)
    sites, _, rewritten = rewrite(tmp_path, scripted(Net()), x, only="blocks")
    replaced = {site.name for site in sites.sites if "blocks" in site.name}
    assert replaced == {
        name.removesuffix(".weight")
        for name, tensor in rewritten.state_dict().items()
        if name.endswith(".weight") and not tensor.numel()
    }
    rewritten.head(torch.randn(1, 6))
    with pytest.raises(RuntimeError):
        rewritten.blocks(torch.randn(1, 6, 4, 4))
