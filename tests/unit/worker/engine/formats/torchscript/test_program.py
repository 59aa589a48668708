"""A program computes what its TorchScript module computes, and the module stays as it was."""

import hashlib
import warnings
from dataclasses import replace
from typing import Dict, List, NamedTuple, Tuple  # noqa: UP035 - what TorchScript understands

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.engine import program as programs
from worker.engine.formats.torchscript import value_names
from worker.engine.formats.torchscript.model import TorchScriptModel
from worker.engine.program import NoProgramError

HOW = ["traced", "scripted", "frozen"]


class Residual(nn.Module):
    """What is added and rectified in place is read again by its first name."""

    def __init__(self, channels=6):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm2 = nn.BatchNorm2d(channels, affine=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.norm1(self.conv1(x))
        self.relu(y)
        z = self.norm2(self.conv2(y))
        z += x
        return self.relu(z) + y


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1, padding_mode="reflect")
        self.block = Residual()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        y = self.block(functional.max_pool2d(self.stem(x), 2, ceil_mode=True))
        y = torch.cat(
            [functional.adaptive_avg_pool2d(y, 1), functional.adaptive_max_pool2d(y, 1)], dim=1
        )
        return functional.log_softmax(self.head(self.drop(y.flatten(1))), dim=1)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.group = nn.GroupNorm(2, 8)
        self.instance = nn.InstanceNorm2d(8, track_running_stats=True)
        self.layer = nn.LayerNorm([8, 8, 8])
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.act = nn.PReLU(4)

    def forward(self, x):
        y = self.layer(functional.silu(self.instance(self.group(self.down(x)))))
        y = self.act(self.up(y))
        y = functional.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)
        return (
            functional.avg_pool2d(functional.pad(y, (1, 1, 0, 0)), 2)
            .permute(0, 2, 3, 1)
            .contiguous()
        )


class Products(nn.Module):
    """Linear layers by the three operators that compute them, one with a matrix as it is stored."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 6)
        self.weight = nn.Parameter(torch.randn(6, 5))
        self.other = nn.Linear(5, 3)
        self.left = nn.Parameter(torch.randn(2, 2))

    def forward(self, x):
        y = torch.relu(self.linear(x)) @ self.weight
        return self.left @ torch.addmm(self.other.bias, y, self.other.weight.t())


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3)
        self.lstm = nn.LSTM(4, 5, batch_first=True, dropout=0.5, num_layers=2)

    def forward(self, x):
        y, (hidden, _) = self.lstm(self.conv(x).transpose(1, 2))
        return y, hidden


class Branches(nn.Module):
    """A branch on a shape, one on data with a site in it, and one on a setting."""

    def __init__(self, wide=True):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.inner = nn.Conv2d(4, 4, 1)
        self.chosen = nn.Conv2d(4, 4, 1)
        self.wide: bool = wide

    def forward(self, x):
        if x.dim() == 3:
            x = x.unsqueeze(0)
        y = self.conv(x)
        y = self.inner(y) if bool(y.mean() > 0) else torch.relu(y) - 1
        if self.wide:
            y = self.chosen(y)
        return y


class Looped(nn.Module):
    """The same site in every turn, a list that grows, and a loop whose end depends on the input."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Conv2d(4, 4, 1) for _ in range(2)])
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        found: List[Tensor] = []  # noqa: UP006
        for block in self.blocks:
            x = block(x)
            found.append(x)
        for turn in range(3):
            x = torch.relu(self.conv(x)) + turn
            found.append(x)
        while bool(x.abs().max() > 1):
            x = x / 2
        return found, x


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 4, (3, 5), padding="same")
        self.sound = nn.Conv1d(2, 4, 4, padding="same")

    def forward(self, image, sound, scale: float = 2.0):
        pair = Pair(self.image(image).mean((2, 3)), self.sound(sound).mean(2) * scale)
        return {"pair": pair.first + pair.second, "size": torch.tensor(image.size(0))}, pair


class Nested(nn.Module):
    def forward(self, x) -> Tuple[Tuple[Tensor, Dict[str, Tensor]], List[Tensor]]:  # noqa: UP006
        a, b = x.chunk(2, 1)
        return (a, {"z": b, "a": a + b}), [b, x]


class Writes(nn.Module):
    """Views that are written into, and read by every name that their memory has."""

    def forward(self, x):
        y = x * 2
        row, flat = y[:, 1], y.view(-1)
        row.mul_(3)
        y[:, 0] = row - 1
        flat[::2] += 1
        y[:2].copy_(y[2:])
        canvas = torch.zeros(2, 3)
        canvas[:, :2] = y[:2, :2].sum(-1)
        x.add_(1)  # the caller's own tensor, which has to stay
        return x, y, row, flat, canvas, x.relu_() + canvas.sum()


class WritesInBranch(nn.Module):
    def forward(self, x):
        y = x + 1
        row = y[0]
        found = [y]
        if bool(x.sum() > 0):
            row.mul_(2)
            found.append(row + 1)
        for _ in range(int(x.size(0))):
            row.add_(1)
        return y, row, torch.stack([item.sum() for item in found])


class WritesPieces(nn.Module):
    def forward(self, x):
        y = x + 1
        a, b = y.chunk(2, 0)
        pieces = y.split(1, 1)
        b.copy_(a)
        pieces[0].zero_()
        return y, a, b, pieces[0], pieces[1]


class Leaves(nn.Module):
    """Returns from inside a branch, and writes into what dropout hands on."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout()

    def forward(self, x) -> Tuple[Tensor, Tensor]:  # noqa: UP006
        y = x + 1
        z = self.drop(y)
        z[0] = 0
        if bool(x.sum() > 0):
            return y, z
        if bool(x.sum() < -1):
            return z * 2, y - 1
        return z - 1, y


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.rand(4)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen: int = 0

    def forward(self, x):
        self.seen = self.seen + 1
        return x * self.seen


class Endless(nn.Module):
    def forward(self, x):
        for _ in range(1_000_000):
            for _ in range(1_000_000):
                x = x + 1
        return x


def stored(tmp_path, module, how, *inputs):
    """Write a module with statistics that are not those of a new one."""
    generator = torch.Generator().manual_seed(0)
    for name, buffer in module.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    module.eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter(
            "ignore"
        )  # what torch says of tracing through python's own branches, and of 'same'
        made = (
            torch.jit.trace(module, inputs, strict=False)
            if how == "traced"
            else torch.jit.script(module)
        )
        made = torch.jit.freeze(made, optimize_numerics=False) if how == "frozen" else made
    path = tmp_path / f"{how}.pt"
    made.save(path)
    return path


def flat(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in flat(item)]
    return [value]


def data(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def steps_of(program, prefix):
    return [step for step in program.steps if step.op.startswith(prefix)]


def check(tmp_path, module, how, *inputs, others=()):
    """Compare the program's outputs with the module's, on the traced inputs and on others."""
    path = stored(tmp_path, module, how, *inputs)
    opened = TorchScriptModel.open(path)
    program = opened.program()
    runner = torch.jit.load(path).eval()
    for given in (inputs, *others):
        kept = [tensor.clone() for tensor in given]
        with torch.no_grad():
            found = programs.run(program, dict(zip(program.inputs, given, strict=True)))
            assert all(torch.equal(now, before) for now, before in zip(given, kept, strict=True))
            expected = flat(runner(*[tensor.clone() for tensor in given]))
        assert len(found) == len(expected) == len(program.outputs)
        for own, other in zip(found, expected, strict=True):
            torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-6)
    return opened, program


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (Residual, (2, 6, 7, 7)),
        (Pooled, (2, 3, 17, 17)),
        (Decoder, (2, 3, 16, 16)),
        (Products, (2, 4)),
        (Recurrent, (2, 2, 9)),
        (Branches, (2, 3, 5, 5)),
        (Looped, (2, 4, 5, 5)),
        (Nested, (2, 4)),
        (Writes, (4, 3, 6)),
        (WritesPieces, (4, 3)),
        (WritesInBranch, (3, 4)),
        (Leaves, (3, 4)),
    ],
)
def test_a_program_computes_what_the_module_does(tmp_path, module, shape, how):
    torch.manual_seed(1)
    others = [] if how == "traced" else [(data(*shape, seed=seed),) for seed in (1, 2, 3)]
    check(tmp_path, module(), how, data(*shape), others=others)


@pytest.mark.parametrize("how", ["scripted", "frozen"])
def test_several_inputs_and_outputs_in_order(tmp_path, how):
    _, program = check(tmp_path, Several(), how, data(2, 3, 6, 6), data(2, 2, 9))
    assert program.inputs == ("image", "sound")


def test_a_traced_batch_can_be_another(tmp_path):
    check(tmp_path, Pooled(), "traced", data(2, 3, 17, 17), others=[(data(5, 3, 17, 17, seed=1),)])


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("module", [Pooled, Decoder])
def test_double_stays_double(tmp_path, module, how):
    check(tmp_path, module().double(), how, data(2, 3, 16, 16, dtype=torch.float64))


class Cast(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Pooled()

    def forward(self, x):
        y = self.inner(x.to(torch.float16)).half()
        if bool(y.sum() < 0):
            y = y.to(dtype=torch.bfloat16)
        return torch.zeros(1, dtype=torch.float16) + y + torch.full((1,), 0.1).type_as(y)


@pytest.mark.parametrize("how", ["scripted", "frozen"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(tmp_path, dtype, how):
    torch.manual_seed(0)
    module = Cast().to(dtype)
    program = TorchScriptModel.open(stored(tmp_path, module, how)).program()
    x = data(2, 3, 17, 17)
    (found,) = programs.run(program, {"x": x})
    exact = module.float().eval().inner(x) + 0.1
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("module", "shape", "unnamed"),
    [
        (Pooled, (2, 3, 17, 17), set()),
        (Decoder, (2, 3, 16, 16), set()),
        (Looped, (2, 4, 5, 5), set()),
        (Branches, (2, 3, 5, 5), {"inner"}),  # it may not be called
        (Products, (2, 4), {"left", "linear_4"}),  # it multiplies from the other side
    ],
)
def test_site_steps_have_the_names_of_the_count(tmp_path, module, shape, unnamed, how):
    torch.manual_seed(1)
    opened, program = check(tmp_path, module(), how, data(*shape))
    names = {site.name for site in opened.count({"x": shape}).sites}
    called = {step.site for step in program.steps} - {None}
    assert called <= names
    assert len(names - called) <= len(unnamed)
    if how == "scripted":
        assert names - called <= unnamed


def test_a_site_step_takes_the_data_only(tmp_path):
    _, program = check(tmp_path, Pooled(), "scripted", data(2, 3, 17, 17))
    sites = {step.site: step for step in program.steps if step.site}
    assert all(len(step.takes) == len(step.gives) == 1 for step in sites.values())
    module = torch.jit.load(tmp_path / "scripted.pt").eval()
    x = data(3, 12)
    torch.testing.assert_close(
        sites["head"].run(x)[0], functional.linear(x, module.head.weight, module.head.bias)
    )
    x = data(2, 6, 5, 5)
    expected = functional.conv2d(
        x, module.block.conv2.weight, module.block.conv2.bias, padding=1, groups=6
    )
    torch.testing.assert_close(sites["block.conv2"].run(x)[0], expected)


def test_an_unrolled_loop_calls_its_site_in_every_turn(tmp_path):
    _, program = check(tmp_path, Looped(), "scripted", data(2, 4, 5, 5))
    assert [step.site for step in program.steps].count("conv") == 3


@pytest.mark.parametrize("wide", [True, False])
def test_a_branch_on_a_setting_is_taken(tmp_path, wide):
    _, program = check(tmp_path, Branches(wide), "scripted", data(2, 3, 5, 5))
    assert ("chosen" in {step.site for step in program.steps}) == wide
    assert len(steps_of(program, "prim::If")) == 2


@pytest.mark.parametrize("how", ["traced", "scripted"])
def test_norms_hold_the_stored_statistics(tmp_path, how):
    module = Pooled()
    _, program = check(tmp_path, module, how, data(2, 3, 17, 17))
    first, second = [step for step in program.steps if step.norm]
    for step, own in ((first, module.block.norm1), (second, module.block.norm2)):
        norm = step.norm
        assert torch.equal(norm.mean, own.running_mean)
        assert torch.equal(norm.variance, own.running_var)
        assert norm.epsilon == own.eps
        assert (norm.weight is None) == (own.weight is None) == (norm.bias is None)
        assert len(step.takes) == 1
        x = data(2, 6, 4, 4)
        expected = (x - norm.mean[:, None, None]) / (
            norm.variance[:, None, None] + norm.epsilon
        ).sqrt()
        if norm.weight is not None:
            expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
        torch.testing.assert_close(step.run(x)[0], expected)


def test_a_norm_by_the_data_alone_leaves_the_statistics_alone(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(
            module.train(), data(4, 3, 5, 5)
        )  # baked in, whatever mode it is put in
    traced.save(tmp_path / "model.pt")
    opened = TorchScriptModel.open(tmp_path / "model.pt")
    before = {name: tensor.clone() for name, tensor in opened._module.state_dict().items()}
    program = opened.program()
    x = data(4, 3, 5, 5, seed=2)
    (found,) = programs.run(program, {program.inputs[0]: x})
    torch.testing.assert_close(found, torch.jit.load(tmp_path / "model.pt").eval()(x))
    assert all(
        torch.equal(before[name], tensor) for name, tensor in opened._module.state_dict().items()
    )
    assert not any(step.norm for step in program.steps)


@pytest.mark.parametrize("how", HOW)
def test_gradients_reach_the_input_and_a_weight_that_is_put_in(tmp_path, how):
    module = Pooled()
    _, program = check(tmp_path, module, how, data(2, 3, 17, 17))
    first = next(step for step in program.steps if step.site)
    weight = module.stem.weight.detach().clone().requires_grad_()
    bias = module.stem.bias.detach()
    put_in = replace(first, run=lambda x: (functional.conv2d(x, weight, bias, stride=2),))
    program = replace(
        program, steps=tuple(put_in if step is first else step for step in program.steps)
    )
    x = data(2, 3, 17, 17, seed=3).requires_grad_()
    programs.run(program, {program.inputs[0]: x})[0].square().sum().backward()
    twin = x.detach().clone().requires_grad_()
    module(twin).square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)
    torch.testing.assert_close(weight.grad, module.stem.weight.grad)


@pytest.mark.parametrize("module", [Writes, WritesInBranch])
def test_gradients_flow_through_what_is_written(tmp_path, module):
    shape = (4, 3, 6)
    program = TorchScriptModel.open(stored(tmp_path, module(), "scripted")).program()
    x = data(*shape).double().requires_grad_()
    found = sum(out.sin().sum() for out in programs.run(program, {"x": x}))
    (gradient,) = torch.autograd.grad(found, x)
    twin = x.detach().clone().requires_grad_()
    expected = sum(out.sin().sum() for out in flat(module()(twin * 1)))
    (reference,) = torch.autograd.grad(expected, twin)
    torch.testing.assert_close(gradient, reference)


@pytest.mark.parametrize("how", HOW)
def test_weights_are_those_of_the_module(tmp_path, how):
    opened = TorchScriptModel.open(stored(tmp_path, Pooled(), how, data(2, 3, 17, 17)))
    before = hashlib.sha256((tmp_path / f"{how}.pt").read_bytes()).digest()
    program = opened.program()
    site = next(step for step in program.steps if step.site and step.op != "aten::linear")
    x = data(2, 3, 19, 19)
    first = site.run(x)[0]
    opened._sites[site.site].weight.data.zero_()
    assert not torch.equal(site.run(x)[0], first)
    assert hashlib.sha256((tmp_path / f"{how}.pt").read_bytes()).digest() == before


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("module", [Pooled, Branches])
def test_the_module_is_saved_as_if_no_program_had_been_read(tmp_path, module, how):
    path = stored(tmp_path, module(), how, data(2, 3, 17, 17))
    written = []
    for name, reads in (("plain", False), ("read", True)):
        opened = TorchScriptModel.open(path)
        if reads:
            program = opened.program()
            programs.run(program, {program.inputs[0]: data(2, 3, 17, 17)})
        (tmp_path / name).mkdir()
        opened.save(tmp_path / name / "model.pt")
        written.append((tmp_path / name / "model.pt").read_bytes())
    assert written[0] == written[1]


def test_what_no_output_needs_is_no_step(tmp_path):
    _, program = check(tmp_path, Pooled(), "traced", data(2, 3, 17, 17))
    used = {name for step in program.steps for name in step.takes} | set(program.outputs)
    assert all(not used.isdisjoint(step.gives) for step in program.steps)
    assert not steps_of(program, "aten::dropout")


def test_random_numbers_are_drawn_at_every_run(tmp_path):
    program = TorchScriptModel.open(stored(tmp_path, Noise(), "scripted")).program()
    x = torch.zeros(4)
    assert not torch.equal(programs.run(program, {"x": x})[0], programs.run(program, {"x": x})[0])


class Unordered(nn.Module):
    def forward(self, x):
        return x.split(int(x.max()))


class Forked(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        task = torch.jit.fork(self.conv, x)
        return torch.jit.wait(task)


class TwoNames(nn.Module):
    def forward(self, x):
        found = [x]
        kept = [found]
        if bool(x.sum() > 0):
            found.append(x)
        return torch.stack(kept[0])


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Counting, "keeps state from one call to the next: seen"),
        (Endless, "values once its loops are unrolled"),
        (Unordered, "how many outputs it has"),
        (Forked, "prim::fork, which is no operator"),
        (TwoNames, "a list that may have several names"),
    ],
)
def test_what_cannot_be_taken_apart_is_said_in_words(tmp_path, monkeypatch, module, words):
    monkeypatch.setattr(value_names, "_MOST_VALUES", 500)
    opened = TorchScriptModel.open(stored(tmp_path, module(), "scripted"))
    with pytest.raises(NoProgramError, match=words):
        opened.program()
