"""Surgery on TorchScript: replaced layers compute the same, and everything else stays as it was."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chains import split_exactly, with_bias
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from convpress.refusal import Code, Refusal
from worker.engine.formats import load_runner
from worker.engine.formats.torchscript.model import TorchScriptModel
from worker.engine.numerics.random_inputs import random_inputs

TOLERANCE = 1e-5

# What torch says of padding that differs at the two ends, in a network that asks for it.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.scale = 1.5
        self.register_buffer("shift", torch.ones(channels, 1, 1))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        if self.training:
            y = y * 1.25
        return torch.relu(x + self.conv2(y) * self.shift * self.scale)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        self.blocks = nn.Sequential(Block(6), Block(6))
        self.head = nn.Linear(6, 5)

    def features(self, x):
        return self.blocks(torch.relu(self.stem(x)))

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


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


class Shared(nn.Module):
    """One convolution by two names and from two places."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(4, 4, 3, padding=1)
        self.b = self.a

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


class Wider(Shared):
    """The same, whose weight is used with another geometry besides."""

    def __init__(self):
        super().__init__()
        self.wider = nn.Conv2d(4, 4, 3, padding=2, dilation=2, bias=False)
        self.wider.weight = self.a.weight

    def forward(self, x):
        return self.b(torch.relu(self.a(x))) + self.wider(x)


class Measured(Shared):
    """The same, whose weight something else reads besides."""

    def forward(self, x):
        return self.b(torch.relu(self.a(x))) * self.a.weight.mean()


class Looped(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        for _ in range(3):
            x = torch.relu(self.conv(x))
        return x


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


def scripted(module):
    return torch.jit.script(module.eval())


def write(tmp_path, module, **extra):
    path = tmp_path / "model.pt"
    torch.jit.save(module, path, _extra_files=extra)
    return path


def rewrite(tmp_path, module, *inputs, make=split_exactly, only=None, **shapes):
    """Replace all sites that can be, save, reload; return (sites, original, rewritten)."""
    path = write(tmp_path, module)
    opened = TorchScriptModel.open(path)
    count = opened.count(shapes or {opened.inputs[0].name: tuple(inputs[0].shape)})
    for site in count.sites:
        if site.reason is None and (only is None or only in site.name):
            opened.replace(site, make(opened.layer(site)))
    opened.save(tmp_path / "out.pt")
    return count, torch.jit.load(path), torch.jit.load(tmp_path / "out.pt")


def assert_same(found, expected):
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()
    assert found.dtype == expected.dtype


@pytest.mark.parametrize("how", ["traced", "scripted", "frozen"])
def test_a_residual_network_computes_the_same(tmp_path, how):
    x = torch.randn(2, 3, 17, 17, generator=torch.Generator().manual_seed(0))
    module = Net().eval()
    made = {
        "traced": lambda: torch.jit.trace(module, x),
        "scripted": lambda: scripted(module),
        "frozen": lambda: torch.jit.freeze(scripted(module)),
    }[how]()
    count, original, rewritten = rewrite(tmp_path, made, x)
    assert sum(site.reason is None for site in count.sites) == 6
    assert_same(rewritten(x), original(x))


def test_every_exported_method_is_rewritten(tmp_path):
    x = torch.randn(1, 3, 9, 9)
    _, original, rewritten = rewrite(tmp_path, scripted(Exported()), x)
    assert_same(rewritten.embed(x), original.embed(x))
    assert_same(rewritten.repeat(x, 3), original.repeat(x, 3))
    assert "factored" in rewritten.embed.code or "factored" in str(rewritten.embed.graph)


def test_what_was_not_touched_keeps_its_names_values_and_modes(tmp_path):
    x = torch.randn(2, 3, 9, 9)
    _, original, rewritten = rewrite(tmp_path, scripted(Net()), x, only="blocks.0.conv1")
    before, after = original.state_dict(), rewritten.state_dict()
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


def test_a_submodule_called_on_its_own_fails_rather_than_computing_something_else(tmp_path):
    x = torch.randn(2, 3, 9, 9)
    _, original, rewritten = rewrite(tmp_path, scripted(Net()), x, only="blocks.0")
    y = original.stem(x)
    assert torch.equal(rewritten.stem(x), y)
    with pytest.raises(RuntimeError):
        rewritten.blocks(y)


def test_a_shared_convolution_is_one_site_and_stays_shared(tmp_path):
    x = torch.randn(1, 4, 8, 8)
    count, original, rewritten = rewrite(tmp_path, scripted(Shared()), x)
    assert [(len(site.calls), sum(call.times for call in site.calls)) for site in count.sites] == [
        (1, 2)
    ]
    assert_same(rewritten(x), original(x))
    assert sum("factored" in name for name in rewritten.state_dict()) == 3


def test_a_weight_that_is_shared_but_not_used_alike_is_left(tmp_path):
    count, _, _ = rewrite(tmp_path, scripted(Wider()), torch.randn(1, 4, 8, 8))
    assert [(len(site.calls), sum(call.times for call in site.calls)) for site in count.sites] == [
        (1, 2),
        (1, 1),
    ]
    assert {site.reason for site in count.sites} == {
        "its weight is shared with layers that use it in another way"
    }


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


def test_a_loop_counts_every_turn(tmp_path):
    x = torch.randn(1, 4, 8, 8)
    count, original, rewritten = rewrite(tmp_path, scripted(Looped()), x)
    assert count.macs == 3 * 8 * 8 * 4 * 4 * 9
    assert_same(rewritten(x), original(x))


def test_several_inputs_and_outputs_and_padding_that_differs_at_the_ends(tmp_path):
    image, sound = torch.randn(1, 3, 7, 9), torch.randn(1, 2, 12)
    module = torch.jit.script(Several().eval())
    count, original, rewritten = rewrite(tmp_path, module, image=(1, 3, 7, 9), sound=(1, 2, 12))
    assert count.macs == 7 * 9 * 4 * 3 * 15 + 12 * 4 * 2 * 4
    for found, expected in zip(rewritten(image, sound), original(image, sound), strict=True):
        assert_same(found, expected)


def test_what_cannot_be_replaced_is_left_with_its_reason(tmp_path):
    class Left(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 4, 2, stride=2)
            self.pad = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")

        def forward(self, x):
            y = self.pad(self.up(x))
            return functional.conv2d(y, y.mean((2, 3))[0].reshape(1, 4, 1, 1))

    x = torch.randn(1, 3, 5, 5)
    count, original, rewritten = rewrite(tmp_path, scripted(Left()), x)
    reasons = {site.name: site.reason for site in count.sites}
    assert reasons["up"] is None
    assert reasons["pad"] is None
    assert "its weight is computed at run time" in reasons.values()
    assert_same(rewritten(x), original(x))


class Linears(nn.Module):
    """A linear layer as TorchScript files spell it."""

    def __init__(self, how, has_bias):
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.randn(*((3, 5) if how in ("matmul", "mm") else (5, 3))))
        self.bias = nn.Parameter(torch.randn(5)) if has_bias else None

    def forward(self, x):
        if self.how == "linear":
            return functional.linear(x, self.weight, self.bias)
        if self.how == "addmm":
            return torch.addmm(self.bias, x, self.weight.t())
        if self.how == "mm":
            return torch.mm(x, self.weight)
        return torch.matmul(x, self.weight if self.how == "matmul" else self.weight.transpose(0, 1))


LINEARS = [
    *(
        ("linear", has_bias, shape)
        for has_bias in (True, False)
        for shape in ((3,), (2, 3), (2, 4, 3), (2, 1, 4, 3))
    ),
    ("addmm", True, (2, 3)),
    ("mm", False, (2, 3)),
    *((how, False, shape) for how in ("matmul", "matmul_t") for shape in ((3,), (2, 3), (2, 4, 3))),
]


@pytest.mark.parametrize(("how", "has_bias", "shape"), LINEARS)
@pytest.mark.parametrize("frozen", [False, True], ids=["", "frozen"])
def test_a_linear_layer_becomes_two(tmp_path, how, has_bias, shape, frozen):
    x = torch.randn(*shape)
    made = torch.jit.trace(Linears(how, has_bias).eval(), x)
    made = torch.jit.freeze(made) if frozen else made
    with torch.no_grad():
        for value in (0, 0.5):
            count, original, rewritten = rewrite(
                tmp_path,
                made,
                x,
                make=lambda layer: with_bias(layer, value),  # noqa: B023
            )
            assert_same(rewritten(x), original(x) + value)
            (site,) = count.sites
            assert (site.op, site.weight_shape, site.reason) == ("linear", (5, 3), None)
            assert site.macs == 5 * x.numel() == site.macs_of([site.convolution])


def test_a_linear_layer_on_what_does_not_lie_in_one_piece_is_seen(tmp_path):
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 5, bias=False).requires_grad_(False)

        def forward(self, x):
            return self.linear(x.mT)

    x = torch.randn(2, 3, 4)
    count, original, rewritten = rewrite(tmp_path, scripted(Turned()), x)
    assert [(site.name, site.macs, site.reason) for site in count.sites] == [
        ("linear", 2 * 3 * 4 * 5, None)
    ]
    assert_same(rewritten(x), original(x))


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (lambda x, w, b: torch.addmm(b, x, w.t(), alpha=2), "its product is scaled"),
        (
            lambda x, w, b: torch.addmm(b.reshape(1, 5), x, w.t()),
            "its bias is computed at run time",
        ),
        (lambda x, w, b: functional.linear(x, w, x[0, 0]), "its bias is computed at run time"),
        (lambda x, w, b: torch.matmul(w, x.t()), "its weight is the left factor of the product"),
        (
            lambda x, w, b: functional.linear(x, w) + functional.linear(x, w, b),
            "its weight is shared with layers that",
        ),
    ],
)
def test_products_that_are_no_linear_layers_are_left_with_the_reason(tmp_path, compute, reason):
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 3))
            self.bias = nn.Parameter(torch.randn(5))

        def forward(self, x):
            return compute(x, self.weight, self.bias)

    x = torch.randn(2, 3)
    count, _, _ = rewrite(tmp_path, torch.jit.trace(Product(), x), x)
    (site,) = count.sites
    assert site.reason.startswith(reason)
    assert site.macs % (5 * 6) == 0 < site.macs


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_transposed_geometry_computes_the_same_and_counts_as_torch_does(tmp_path_factory, data):
    axes = data.draw(st.integers(1, 3))
    sizes = st.integers(1, 3)
    per_axis = lambda strategy: tuple(data.draw(strategy) for _ in range(axes))  # noqa: E731
    groups = data.draw(sizes)
    kernel, stride, dilation = per_axis(sizes), per_axis(sizes), per_axis(st.integers(1, 2))
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
            data.draw(st.integers(0, max(pair) - 1)) for pair in zip(stride, dilation, strict=True)
        ),
        groups,
        bias=data.draw(st.booleans()),
        dilation=dilation,
    )
    x = torch.randn(data.draw(sizes), conv.in_channels, *per_axis(st.integers(3, 5)))
    inner = nn.Sequential(conv)  # called on its own, it can be asked for another size of output
    module = torch.jit.trace(inner, x) if data.draw(st.booleans()) else torch.jit.script(inner)
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


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_geometry_computes_the_same_and_counts_as_torch_does(tmp_path_factory, data):
    axes = data.draw(st.integers(1, 3))
    sizes = st.integers(1, 3)
    per_axis = lambda strategy: tuple(data.draw(strategy) for _ in range(axes))  # noqa: E731
    groups = data.draw(sizes)
    kernel, stride, dilation = per_axis(sizes), per_axis(sizes), per_axis(st.integers(1, 2))
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
    module = torch.jit.trace(conv, x) if data.draw(st.booleans()) else torch.jit.script(conv)
    count, original, rewritten = rewrite(tmp_path_factory.mktemp("geometry"), module.eval(), x)
    with FlopCounterMode(display=False) as counter:
        conv(x)
    assert 2 * count.macs == counter.get_total_flops()
    site = count.sites[0]
    assert site.macs_of([site.convolution]) == count.macs
    with torch.no_grad():
        assert_same(rewritten(x), original(x))


def test_the_count_of_a_network_is_flop_counter_modes(tmp_path):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net()
            self.up = nn.ConvTranspose2d(3, 3, 3, stride=2, output_padding=1)
            self.queries = nn.Linear(6, 6)

        def forward(self, x):
            tokens = self.net.features(self.up(x)).flatten(2).mT
            attended = functional.scaled_dot_product_attention(self.queries(tokens), tokens, tokens)
            return attended @ tokens.mT

    module = Mixed().eval()
    opened = TorchScriptModel.open(write(tmp_path, scripted(module)))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.randn(2, 3, 8, 8))
    assert 2 * opened.count({"x": (2, 3, 8, 8)}).macs == counter.get_total_flops()


def test_a_recurrent_layer_counts_its_products(tmp_path):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(6, 7)

        def forward(self, x):
            return self.lstm(x)[0]

    steps, batch, inputs, hidden = 5, 2, 6, 7
    opened = TorchScriptModel.open(write(tmp_path, scripted(Recurrent())))
    count = opened.count({"x": (steps, batch, inputs)})
    assert count.macs == steps * batch * 4 * hidden * (inputs + hidden)


def test_half_precision_stays_half_precision(tmp_path):
    x = torch.randn(1, 3, 9, 9)
    _, _, rewritten = rewrite(
        tmp_path, scripted(Net()).half(), x.half(), make=lambda layer: [layer]
    )
    assert {
        tensor.dtype for tensor in rewritten.state_dict().values() if tensor.is_floating_point()
    } == {torch.half}


@pytest.mark.parametrize("shapes", [{"x": (1, 4, 9, 9)}, {"x": (1, 3, 1, 1)}])
def test_a_shape_that_the_model_cannot_take_is_refused(tmp_path, shapes):
    opened = TorchScriptModel.open(write(tmp_path, scripted(Net())))
    with pytest.raises(Refusal) as refused:
        opened.count(opened.bind({"": shapes["x"]}))
    assert refused.value.code == Code.INPUT_SHAPE_MISMATCH
    assert "Traceback" not in refused.value.detail


def test_the_shape_is_required_and_the_channels_are_told(tmp_path):
    opened = TorchScriptModel.open(write(tmp_path, scripted(Net())))
    with pytest.raises(Refusal) as refused:
        opened.bind(None)
    assert (refused.value.code, refused.value.expected) == (Code.INPUT_SHAPE_REQUIRED, "1x3x?x?")


class Rated(nn.Module):
    """A whole number without a default decides what is called."""

    def __init__(self):
        super().__init__()
        self.fast, self.slow = nn.Conv1d(1, 4, 3), nn.Conv1d(1, 4, 5, stride=2)

    def forward(self, x, rate: int):
        if rate not in (8000, 16000):
            raise ValueError(f"{rate} is no rate")
        return self.fast(x) if rate == 16000 else self.slow(x)


def test_a_whole_number_is_given_in_the_place_of_a_shape(tmp_path):
    path = write(tmp_path, scripted(Rated()))
    opened = TorchScriptModel.open(path)
    with pytest.raises(Refusal) as refused:
        opened.bind({"x": (1, 1, 12)})
    assert (refused.value.code, refused.value.expected) == (
        Code.INPUT_SHAPE_REQUIRED,
        "rate=NUMBER",
    )
    for rate, called, macs in ((16000, "fast", 10 * 12), (8000, "slow", 4 * 20)):
        shapes = opened.bind({"x": (1, 1, 12), "rate": (rate,)})
        assert {site.name for site in opened.count(shapes).sites if site.reason is None} == {called}
        assert opened.count(shapes).macs == macs
        inputs = random_inputs(opened.inputs, shapes)
        expected = torch.jit.load(path)(torch.from_numpy(inputs["x"]), rate).detach().numpy()
        assert (load_runner("torchscript", path)(inputs)["output"] == expected).all()


@pytest.mark.parametrize(
    ("rate", "said"), [((44100,), "44100 is no rate"), ((2, 2), "whole number")]
)
def test_a_number_that_the_model_does_not_take_is_refused(tmp_path, rate, said):
    opened = TorchScriptModel.open(write(tmp_path, scripted(Rated())))
    with pytest.raises(Refusal, match=said) as refused:
        opened.count(opened.bind({"x": (1, 1, 12), "rate": rate}))
    assert refused.value.code == Code.INPUT_SHAPE_MISMATCH


def test_a_forward_that_takes_no_tensor_is_refused(tmp_path):
    class Words(nn.Module):
        def forward(self, text: str):
            return torch.ones(len(text))

    with pytest.raises(Refusal) as refused:
        TorchScriptModel.open(write(tmp_path, scripted(Words())))
    assert refused.value.code == Code.MODEL_UNSUPPORTED
