"""Weights that follow from parameters: layers like any other, computed on where they stay."""

import pytest
import torch
from support.torchscript.modules import assert_same, write
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from worker.engine.formats.torchscript.model import TorchScriptModel

# Tracing warns of the checks inside torch's own layers, and old models hold the old norm.
pytestmark = [
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning"),
]

SIZE = (2, 4, 6, 6)
ONE_CALL = 2 * 6 * 6 * 8 * 4 * 9


def conv():
    return nn.Conv2d(4, 8, 3, padding=1)


class Standardised(nn.Conv2d):
    def forward(self, x):
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = functional.batch_norm(flat, None, None, training=True, eps=1e-6)
        return functional.conv2d(
            x, weight.reshape_as(self.weight), self.bias, padding=1
        )


class Scaled(nn.Module):
    """One weight, scaled anew at each of two calls."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 4, 3, 3))
        self.scale = 0.5

    def forward(self, x):
        y = functional.conv2d(x, self.weight * self.scale, padding=1)
        return y + functional.conv2d(-x, self.weight * self.scale, padding=1)


class Sliced(nn.Module):
    """Attention of one value to another: its parameters are split by the width of the input."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        return self.attention(x[:, :5], x, x)[0]


def traced(module):
    with torch.no_grad():
        return torch.jit.trace(module.eval(), torch.rand(SIZE), check_trace=False)


MODULES = {
    "weight_norm": (lambda: weight_norm(conv()), ONE_CALL),
    "weight_norm, parametrised": (
        lambda: parametrizations.weight_norm(conv()),
        ONE_CALL,
    ),
    "spectral_norm": (lambda: spectral_norm(conv()), ONE_CALL),
    "spectral_norm, parametrised": (
        lambda: parametrizations.spectral_norm(conv()),
        ONE_CALL,
    ),
    "standardised": (lambda: Standardised(4, 8, 3), ONE_CALL),
    "scaled": (Scaled, 2 * ONE_CALL),
    "sliced": (Sliced, 2 * (5 * 4 * 4 + 36 * 4 * 8 + 2 * 36 * 5 * 4 + 5 * 4 * 4)),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_computed_weight_is_replaced_like_any_other(tmp_path, name):
    make, macs = MODULES[name]
    module = traced(make())
    model = TorchScriptModel.open(write(tmp_path, module))
    count = model.count(model.bind({"": SIZE}))
    assert count.macs == macs
    sites = [site for site in count.sites if site.op != "bmm"]
    assert [site.reason for site in sites] == [None] * len(sites)
    for site in sites:
        model.replace(site, [model.layer(site)])
    model.save(tmp_path / "out.pt")
    x = torch.rand(SIZE)
    out = torch.jit.load(tmp_path / "out.pt")
    assert_same(out(x), module(x))
    stored = [
        weight for key, weight in out.state_dict().items() if "_factored" not in key
    ]
    assert not any(weight.numel() for weight in stored if weight.dim() > 1)


def test_a_layer_that_stays_computes_its_weight_at_each_run(tmp_path):
    module = traced(nn.Sequential(weight_norm(conv()), weight_norm(nn.Conv2d(8, 8, 1))))
    model = TorchScriptModel.open(write(tmp_path, module))
    first, _ = model.count(model.bind({"": SIZE})).sites
    assert first.name == "0"
    model.replace(first, [model.layer(first)])
    model.save(tmp_path / "out.pt")
    x = torch.rand(SIZE)
    out = torch.jit.load(tmp_path / "out.pt")
    assert_same(out(x), module(x))
    with torch.no_grad():
        getattr(out, "1").weight_g.mul_(2)
        getattr(module, "1").weight_g.mul_(2)
    assert_same(torch.jit.load(tmp_path / "out.pt")(x) * 0 + out(x), module(x))


class Written(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 4, 3, 3))

    def forward(self, x):
        self.weight.mul_(0.5)
        return functional.conv2d(x, self.weight * 2, padding=1)


def test_a_weight_that_a_run_changes_is_computed_at_run_time(tmp_path):
    module = torch.jit.script(Written().requires_grad_(False))
    model = TorchScriptModel.open(write(tmp_path, module))
    (site,) = model.count(model.bind({"": SIZE})).sites
    assert site.reason is not None


class Merged(nn.Module):
    """An adapter that is added to its weight in every run, and a rotation of a stored basis."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.a = nn.Parameter(torch.randn(2, 8))
        self.b = nn.Parameter(torch.randn(8, 2))
        self.basis = nn.Parameter(torch.randn(8, 8))
        self.angle = nn.Parameter(torch.randn(8, 8))

    def forward(self, x):
        y = functional.linear(x, self.layer.weight + self.b @ self.a, self.layer.bias)
        return functional.linear(y, self.basis @ (self.angle - self.angle.mT))


def test_products_of_parameters_alone_are_counted_until_their_weight_is_replaced(
    tmp_path,
):
    module = torch.jit.script(Merged().eval())
    model = TorchScriptModel.open(write(tmp_path, module))
    shapes = model.bind({"": (3, 8)})
    profile = model.count(shapes)
    assert profile.macs == 2 * 3 * 64 + 8 * 8 * 2 + 8**3
    assert profile.weight_macs == 8 * 8 * 2 + 8**3
    layers = [site for site in profile.sites if site.reason is None]
    assert len(layers) == 2
    for site in layers:
        model.replace(site, [model.layer(site)])
    model.save(tmp_path / "out.pt")
    artifact = TorchScriptModel.open(tmp_path / "out.pt").count(shapes)
    assert (artifact.macs, artifact.weight_macs) == (2 * 3 * 64, 0)
    x = torch.rand(3, 8)
    assert_same(torch.jit.load(tmp_path / "out.pt")(x), module(x))
