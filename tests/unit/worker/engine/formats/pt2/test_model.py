"""Exported programs: counts against torch's own, surgery against the original's outputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from digits import MODELS
from support.pt2.programs import Counting, Images, Signals, Tokens, opened, write
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from convpress.refusal import Code, Refusal
from worker.engine import program as programs
from worker.engine.formats.aten.outputs import named_outputs
from worker.engine.formats.aten.sites import HIDDEN
from worker.engine.formats.pt2 import file, runner
from worker.engine.formats.torchscript.model import TorchScriptModel
from worker.engine.model import ALONE
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.random_inputs import random_inputs

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")


def images(batch):
    return (torch.randn(batch, 3, 9, 9),)


def signals(batch):
    return torch.randn(batch, 4, 20), torch.randn(batch, 1, 4, 5, 6)


def tokens(batch):
    return (torch.randint(0, 20, (batch, 6)),)


CASES = {
    "images": (Images, images, False),
    "images, decomposed": (Images, images, True),
    "signals": (Signals, signals, False),
    "signals, decomposed": (Signals, signals, True),
    "tokens": (Tokens, tokens, False),
    "counting": (Counting, images, False),
    "counting, decomposed": (Counting, images, True),
}
# Decomposed programs have the same few operators: `make test` takes one.
SLOW = (
    "images, decomposed",
    "signals",
    "signals, decomposed",
    "counting, decomposed",
)


def outputs_of(module, tensors):
    with torch.no_grad():
        return dict(named_outputs(module(*tensors), "output"))


def factored(layer):
    """A chain that computes the same: the layer, then one that passes its channels on."""
    geometry = layer.convolution
    channels = geometry.out_channels
    axes = len(geometry.kernel)
    shape = (channels, channels, *[1] * axes)
    passing = Convolution(shape, (1,) * axes, ((0, 0),) * axes, (1,) * axes)
    identity = np.eye(channels, dtype=layer.weight.dtype).reshape(shape)
    return [replace(layer, bias=None), Layer(passing, identity, layer.bias)]


def unused_weights(program):
    users = {node.name: len(node.users) for node in program.graph.nodes}
    return [
        spec.target
        for spec in program.graph_signature.input_specs
        if spec.target is not None and not users[spec.arg.name]
    ]


def zero(layer):
    return [Layer(layer.convolution, np.zeros_like(layer.weight), None)]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CASES],
)
def test_counts_steps_and_surgery_keep_what_the_module_computes(tmp_path, name):
    build, example, decomposed = CASES[name]
    torch.manual_seed(0)
    path, rewritten = tmp_path / "model.pt2", tmp_path / "out.pt2"
    write(path, build(), *example(2), decomposed=decomposed)
    original = torch.export.load(path)
    module = original.module()
    runs = [example(batch) for batch in (3, 1, 5)]
    expected = [outputs_of(module, tensors) for tensors in runs]

    model = opened(path)
    profile = model.count(model.bind(None))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        module(*example(1))
    assert profile.macs == counter.get_total_flops() // 2
    assert not profile.unaccounted

    program = model.program()
    steps = programs.run(program, dict(zip(program.inputs, runs[0], strict=True)))
    for actual, array in zip(steps, expected[0].values(), strict=True):
        torch.testing.assert_close(
            actual.detach(), torch.from_numpy(array), atol=1e-5, rtol=1e-5
        )
    replaceable = [site for site in profile.sites if site.reason is None]
    sites_in_steps = {step.site for step in program.steps if step.site is not None}
    assert sites_in_steps == {site.name for site in replaceable} != set()

    for site in replaceable:
        layer = model.layer(site)
        model.replace(site, factored(layer), zero(layer))
    model.save(rewritten)
    run = runner.load(rewritten)
    names = [spec.name for spec in model.inputs]
    for tensors, arrays in zip(runs, expected, strict=True):
        inputs = {
            name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)
        }
        actual = run(inputs)
        assert list(actual) == list(arrays)
        for key, array in arrays.items():
            np.testing.assert_allclose(actual[key], array, atol=2e-6, rtol=2e-5)
    again = opened(rewritten)
    assert (again.inputs, again.outputs) == (model.inputs, model.outputs)
    result = torch.export.load(rewritten)
    assert not {f"{site.name}.weight" for site in replaceable} & set(result.state_dict)
    assert unused_weights(result) == unused_weights(original)


class Attention(nn.Module):
    """Its view fits the layout that the fused kernel of attention gives, and no other."""

    def __init__(self):
        super().__init__()
        self.projection = nn.Linear(8, 24)

    def forward(self, x):
        parts = self.projection(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        heads = nn.functional.scaled_dot_product_attention(*parts.unbind(0))
        return heads.transpose(1, 2).view(x.shape[0], x.shape[1], 8)


def test_a_view_that_only_a_fused_kernel_allows_is_counted_and_read(tmp_path):
    torch.manual_seed(0)
    path, tensor = tmp_path / "model.pt2", torch.randn(2, 5, 8)
    write(path, Attention(), tensor)
    model = opened(path)
    profile = model.count(model.bind(None))
    assert profile.macs == 5 * 8 * 24 + 2 * 5 * 5 * 8
    program = model.program()
    [actual] = programs.run(program, {program.inputs[0]: tensor})
    expected = torch.export.load(path).module()(tensor)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("build", [Images, Tokens])
def test_it_counts_what_the_torchscript_file_of_the_module_counts(tmp_path, build):
    module = build().eval()
    example = images(1) if build is Images else tokens(1)
    write(tmp_path / "model.pt2", module, *example, batch=None)
    exported = opened(tmp_path / "model.pt2")
    shapes = exported.bind(None)
    torch.jit.trace(module, example, check_trace=False).save(tmp_path / "model.pt")
    scripted = TorchScriptModel.open(tmp_path / "model.pt")
    name = scripted.inputs[0].name
    counted = scripted.count({name: tuple(example[0].shape)})
    own = exported.count(shapes)
    assert own.macs == counted.macs
    layers = {site.name: site.macs for site in own.sites if site.reason is None}
    assert layers == {
        site.name: site.macs for site in counted.sites if site.reason is None
    }


def test_a_weight_that_several_layers_share_is_one_site(tmp_path):
    module = Signals()
    write(tmp_path / "model.pt2", module, *signals(1), batch=None)
    model = opened(tmp_path / "model.pt2")
    profile = model.count(model.bind(None))
    (conv,) = [site for site in profile.sites if site.name == "conv"]
    assert [call.times for call in conv.calls] == [2]


def test_sizes_outside_the_range_of_their_symbol_are_refused(tmp_path):
    write(tmp_path / "model.pt2", Images(), *images(4), batch=(2, 8))
    model = opened(tmp_path / "model.pt2")
    assert model.bind(None) == {"x": (2, 3, 9, 9)}
    with pytest.raises(Refusal, match="outside of the range") as refused:
        model.bind({"": (9, 3, 9, 9)})
    assert refused.value.code == Code.INPUT_SHAPE_MISMATCH
    assert refused.value.expected == "2 to 8"


@pytest.mark.parametrize("version", ["2.9.1", "2.11.0", "2.12.1", "2.13.0", "2.14.1"])
def test_archives_of_other_versions_of_torch_open_and_are_written(tmp_path, version):
    model = opened(MODELS / "exported" / f"small.torch-{version}.pt2")
    profile = model.count(model.bind(None))
    replaceable = [site for site in profile.sites if site.reason is None]
    assert replaceable
    for site in replaceable:
        layer = model.layer(site)
        model.replace(site, factored(layer), zero(layer))
    model.save(tmp_path / "out.pt2")
    inputs = random_inputs(model.inputs, model.bind(None))
    actual = runner.load(tmp_path / "out.pt2")(inputs)
    with file.without_samples(
        MODELS / "exported" / f"small.torch-{version}.pt2"
    ) as copy:
        expected = runner.load(copy)(inputs)
    assert expected.keys() == actual.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, atol=2e-6, rtol=2e-5)


def test_a_size_without_a_limit_takes_any(tmp_path):
    write(tmp_path / "model.pt2", Images(), *images(4), batch=(1, None))
    model = opened(tmp_path / "model.pt2")
    assert model.bind(None) == {"x": (1, 3, 9, 9)}
    assert model.bind({"": (99, 3, 9, 9)}) == {"x": (99, 3, 9, 9)}


def test_the_same_file_gives_the_same_bytes_and_keeps_its_extra_files(tmp_path):
    extras = {"labels.txt": "cat dog"}
    write(tmp_path / "model.pt2", Images(), *images(1), batch=None, extra_files=extras)
    files = []
    for name in ("one.pt2", "other.pt2"):
        opened(tmp_path / "model.pt2").save(tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    kept = {"labels.txt": ""}
    torch.export.load(tmp_path / "one.pt2", extra_files=kept)
    assert kept == extras


def test_half_precision_stays_half(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).bfloat16()
    x = torch.randn(1, 3, 6, 6).bfloat16()
    write(tmp_path / "model.pt2", module, x, batch=None)
    model = opened(tmp_path / "model.pt2")
    (site,) = model.count(model.bind(None)).sites
    program = model.program()
    (output,) = programs.run(program, {program.inputs[0]: x.float()})
    assert output.dtype == torch.float32
    model.replace(site, factored(model.layer(site)))
    model.save(tmp_path / "out.pt2")
    weights = torch.export.load(tmp_path / "out.pt2").state_dict
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    (actual,) = runner.load(tmp_path / "out.pt2")(
        {model.inputs[0].name: x.float().numpy()}
    ).values()
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, module(x).float().detach(), atol=0.05)


class InAnEinsum(nn.Module):
    """A weight that a layer and an einsum multiply by."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        other = torch.einsum("bc,dc->bd", x, self.linear.weight)
        return self.head(torch.relu(self.linear(x)) + other)


def test_a_weight_that_another_operator_multiplies_by_is_left(tmp_path):
    path = tmp_path / "model.pt2"
    write(path, InAnEinsum(), torch.rand(2, 4))
    count = opened(path).count({"x": (5, 4)})
    assert count.macs == 5 * (16 + 16 + 12)
    assert {site.name: site.reason for site in count.sites} == {
        "linear": HIDDEN,
        "head": None,
    }


TURNED = {
    "einsum of mT": lambda x, w: torch.einsum("bc,cd->bd", x, w.mT),
    "einsum of swapdims": lambda x, w: torch.einsum("bc,cd->bd", x, w.swapdims(0, 1)),
    "einsum of atleast_3d": lambda x, w: torch.einsum(
        "bc,cdk->bd", x, torch.atleast_3d(w)
    ),
    "bmm of broadcast_to": lambda x, w: torch.bmm(
        x[:, None], torch.broadcast_to(w, (x.shape[0], 4, 4))
    ).squeeze(1),
    "linalg.matmul": torch.linalg.matmul,
    "product with mT": lambda x, w: x @ w.mT,
    "product with moveaxis": lambda x, w: x @ w.moveaxis(0, 1),
}


class UsedTwice(nn.Module):
    """A weight that a layer multiplies by, and another operator does in another way."""

    def __init__(self, use):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)
        self.use = use

    def forward(self, x):
        return self.head(torch.relu(self.linear(x)) + self.use(x, self.linear.weight))


@pytest.mark.parametrize("use", TURNED.values(), ids=TURNED)
def test_a_replaced_layer_takes_no_product_with_it_that_stays(tmp_path, use):
    path = tmp_path / "model.pt2"
    write(path, UsedTwice(use), torch.rand(2, 4))
    model = opened(path)
    count = model.count({"x": (2, 4)})
    assert count.macs == 2 * (16 + 16 + 12)
    added = 0
    for site in count.sites:
        if site.reason is None:
            model.replace(site, factored(model.layer(site)))
            rows = sum(call.batch * call.times for call in site.calls)
            added += rows * site.weight_shape[0] ** 2
    model.save(tmp_path / "out.pt2")
    assert opened(tmp_path / "out.pt2").count({"x": (2, 4)}).macs == count.macs + added


class Adapted(nn.Module):
    """An adapter is added to a weight at each run."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 8)
        self.left = nn.Parameter(torch.rand(8, 2))
        self.right = nn.Parameter(torch.rand(2, 6))

    def forward(self, x):
        weight = self.linear.weight + self.left @ self.right
        return nn.functional.linear(x, weight, self.linear.bias)


def test_products_that_weights_are_computed_from_count_until_those_are_replaced(
    tmp_path,
):
    path, target = tmp_path / "model.pt2", tmp_path / "out.pt2"
    module, x = Adapted(), torch.rand(5, 6)
    write(path, module, torch.rand(2, 6))
    model = opened(path)
    count = model.count({"x": (5, 6)})
    layer, products = count.sites
    assert (layer.reason, products.reason) == (None, ALONE)
    assert (layer.macs, products.macs) == (5 * 8 * 6, 8 * 2 * 6)
    with FlopCounterMode(display=False) as counter:
        module(x)
    assert count.macs == counter.get_total_flops() // 2
    model.replace(layer, factored(model.layer(layer)))
    model.save(target)
    assert opened(target).count({"x": (5, 6)}).weight_macs == 0
