"""Chains in the place of a layer compute what it computes, in every spelling and geometry."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.chains import with_bias
from support.torchscript.modules import Net, assert_same, rewrite, scripted
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

# What torch says of padding that differs at the two ends, in a network that asks for it.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")


class Exported(Net):
    @torch.jit.export
    def embed(self, x):
        return self.features(x).mean((2, 3))

    @torch.jit.export
    def repeat(self, x, times: int):
        y = self.forward(x)
        for _ in range(times):
            if bool(y.sum() > 0):
                y = y - self.forward(x)
        return y


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 4, (3, 5), padding="same")
        self.sound = nn.Conv1d(2, 4, 4, padding="same")

    def forward(self, image, sound):
        return Pair(self.image(image).mean((2, 3)), self.sound(sound).mean(2))


@pytest.mark.parametrize("how", ["traced", "scripted", "frozen"])
def test_a_residual_network_computes_the_same(tmp_path, how):
    x = torch.randn(2, 3, 17, 17, generator=torch.Generator().manual_seed(0))
    module = Net().eval()
    factors = {
        "traced": lambda: torch.jit.trace(module, x),
        "scripted": lambda: scripted(module),
        "frozen": lambda: torch.jit.freeze(scripted(module)),
    }[how]()
    count, original, rewritten = rewrite(tmp_path, factors, x)
    assert sum(site.reason is None for site in count.sites) == 6
    assert_same(rewritten(x), original(x))


def test_every_exported_method_is_rewritten(tmp_path):
    x = torch.randn(1, 3, 9, 9)
    _, original, rewritten = rewrite(tmp_path, scripted(Exported()), x)
    assert_same(rewritten.embed(x), original.embed(x))
    assert_same(rewritten.repeat(x, 3), original.repeat(x, 3))
    assert "factored" in rewritten.embed.code or "factored" in str(
        rewritten.embed.graph
    )


def test_a_submodule_called_on_its_own_fails_rather_than_computing_something_else(
    tmp_path,
):
    x = torch.randn(2, 3, 9, 9)
    _, original, rewritten = rewrite(tmp_path, scripted(Net()), x, only="blocks.0")
    y = original.stem(x)
    assert torch.equal(rewritten.stem(x), y)
    with pytest.raises(RuntimeError):
        rewritten.blocks(y)


def test_several_inputs_and_outputs_and_padding_that_differs_at_the_ends(tmp_path):
    image = torch.randn(1, 3, 7, 9)
    sound = torch.randn(1, 2, 12)
    module = torch.jit.script(Several().eval())
    count, original, rewritten = rewrite(
        tmp_path, module, image=(1, 3, 7, 9), sound=(1, 2, 12)
    )
    assert count.macs == 7 * 9 * 4 * 3 * 15 + 12 * 4 * 2 * 4
    for actual, expected in zip(
        rewritten(image, sound), original(image, sound), strict=True
    ):
        assert_same(actual, expected)


class Linears(nn.Module):
    """A linear layer as TorchScript files spell it."""

    def __init__(self, how, has_bias):
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(
            torch.randn(*((3, 5) if how in ("matmul", "mm") else (5, 3)))
        )
        self.bias = nn.Parameter(torch.randn(5)) if has_bias else None

    def forward(self, x):
        if self.how == "linear":
            return functional.linear(x, self.weight, self.bias)
        if self.how == "addmm":
            return torch.addmm(self.bias, x, self.weight.t())
        if self.how == "mm":
            return torch.mm(x, self.weight)
        return torch.matmul(
            x, self.weight if self.how == "matmul" else self.weight.transpose(0, 1)
        )


LINEARS = [
    *(
        ("linear", has_bias, shape)
        for has_bias in (True, False)
        for shape in ((3,), (2, 3), (2, 4, 3), (2, 1, 4, 3))
    ),
    ("addmm", True, (2, 3)),
    ("mm", False, (2, 3)),
    *(
        (how, False, shape)
        for how in ("matmul", "matmul_t")
        for shape in ((3,), (2, 3), (2, 4, 3))
    ),
]


# Freezing changes where weights are, whatever the shape of the input, and few shapes differ in the
# graph: `make slow` tries every pair.
@pytest.mark.parametrize(
    ("how", "has_bias", "shape", "frozen"),
    [
        pytest.param(
            *case,
            frozen,
            marks=[pytest.mark.slow]
            * (len(case[-1]) not in ((2,) if frozen else (2, 3))),
        )
        for case in LINEARS
        for frozen in (False, True)
    ],
)
def test_a_linear_layer_becomes_two(tmp_path, how, has_bias, shape, frozen):
    x = torch.randn(*shape)
    module = torch.jit.trace(Linears(how, has_bias).eval(), x)
    module = torch.jit.freeze(module) if frozen else module
    with torch.no_grad():
        for value in (0, 0.5):
            count, original, rewritten = rewrite(
                tmp_path,
                module,
                x,
                make=lambda layer: with_bias(layer, value),  # noqa: B023
            )
            assert_same(rewritten(x), original(x) + value)
            (site,) = count.sites
            assert site.op == "linear"
            assert site.weight_shape == (5, 3)
            assert site.reason is None
            assert site.macs == 5 * x.numel() == site.macs_of([site.convolution])


@settings(deadline=None, max_examples=6)
@given(data=st.data())
def test_any_transposed_geometry_computes_the_same_and_counts_as_torch_does(
    tmp_path_factory, data
):
    axes = data.draw(st.integers(1, 3))
    sizes = st.integers(1, 3)
    per_axis = lambda strategy: tuple(data.draw(strategy) for _ in range(axes))  # noqa: E731
    groups = data.draw(sizes)
    kernel = per_axis(sizes)
    stride = per_axis(sizes)
    dilation = per_axis(st.integers(1, 2))
    conv = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d][axes - 1](
        groups * data.draw(sizes),
        groups * data.draw(sizes),
        kernel,
        stride,
        tuple(
            data.draw(st.integers(0, step * (size - 1) // 2))
            for step, size in zip(dilation, kernel, strict=True)
        ),
        tuple(
            data.draw(st.integers(0, max(pair) - 1))
            for pair in zip(stride, dilation, strict=True)
        ),
        groups,
        bias=data.draw(st.booleans()),
        dilation=dilation,
    )
    x = torch.randn(data.draw(sizes), conv.in_channels, *per_axis(st.integers(3, 5)))
    inner = nn.Sequential(
        conv
    )  # called on its own, it can be asked for another size of output
    module = (
        torch.jit.trace(inner, x)
        if data.draw(st.booleans())
        else torch.jit.script(inner)
    )
    make = lambda layer: with_bias(layer, 0.5)  # noqa: E731
    count, original, rewritten = rewrite(
        tmp_path_factory.mktemp("geometry"), module.eval(), x, make=make
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        conv(x)
    assert 2 * count.macs == counter.get_total_flops()
    (site,) = count.sites
    assert site.reason is None
    assert site.macs_of([site.convolution]) == count.macs
    with torch.no_grad():
        assert_same(rewritten(x), original(x) + 0.5)


@settings(deadline=None, max_examples=5)
@given(data=st.data())
def test_any_geometry_computes_the_same_and_counts_as_torch_does(
    tmp_path_factory, data
):
    axes = data.draw(st.integers(1, 3))
    sizes = st.integers(1, 3)
    per_axis = lambda strategy: tuple(data.draw(strategy) for _ in range(axes))  # noqa: E731
    groups = data.draw(sizes)
    kernel = per_axis(sizes)
    stride = per_axis(sizes)
    dilation = per_axis(st.integers(1, 2))
    padding = data.draw(st.sampled_from(["valid", "same", "numbers"]))
    if padding == "same":
        stride = (1,) * axes
    conv = [nn.Conv1d, nn.Conv2d, nn.Conv3d][axes - 1](
        groups * data.draw(sizes),
        groups * data.draw(sizes),
        kernel,
        stride,
        per_axis(st.integers(0, 2)) if padding == "numbers" else padding,
        dilation,
        groups,
        bias=data.draw(st.booleans()),
    )
    x = torch.randn(data.draw(sizes), conv.in_channels, *per_axis(st.integers(5, 7)))
    module = (
        torch.jit.trace(conv, x) if data.draw(st.booleans()) else torch.jit.script(conv)
    )
    count, original, rewritten = rewrite(
        tmp_path_factory.mktemp("geometry"), module.eval(), x
    )
    with FlopCounterMode(display=False) as counter:
        conv(x)
    assert 2 * count.macs == counter.get_total_flops()
    site = count.sites[0]
    assert site.macs_of([site.convolution]) == count.macs
    with torch.no_grad():
        assert_same(rewritten(x), original(x))
