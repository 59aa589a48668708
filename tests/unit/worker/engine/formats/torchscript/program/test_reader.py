"""A program computes what its TorchScript module computes, and the module stays as it was."""

import hashlib
from dataclasses import replace
from typing import Dict, List, NamedTuple, Tuple  # noqa: UP035 - what TorchScript understands

import pytest
import torch
from support.torchscript.programs import (
    HOW,
    Pooled,
    Residual,
    check,
    data,
    steps_of,
    stored,
)
from torch import Tensor, nn
from torch.nn import functional

from worker.engine import program as programs
from worker.engine.formats.torchscript.model import TorchScriptModel
from worker.engine.formats.torchscript.program import value_names
from worker.engine.program import NoProgramError


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
        y = functional.interpolate(
            y, scale_factor=2.0, mode="bilinear", align_corners=False
        )
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
        outputs: List[Tensor] = []  # noqa: UP006
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        for turn in range(3):
            x = torch.relu(self.conv(x)) + turn
            outputs.append(x)
        while bool(x.abs().max() > 1):
            x = x / 2
        return outputs, x


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
        return {
            "pair": pair.first + pair.second,
            "size": torch.tensor(image.size(0)),
        }, pair


class Nested(nn.Module):
    def forward(self, x) -> Tuple[Tuple[Tensor, Dict[str, Tensor]], List[Tensor]]:  # noqa: UP006
        a, b = x.chunk(2, 1)
        return (a, {"z": b, "a": a + b}), [b, x]


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
    ],
)
def test_a_program_computes_what_the_module_does(tmp_path, module, shape, how):
    torch.manual_seed(1)
    others = (
        [] if how == "traced" else [(data(*shape, seed=seed),) for seed in (1, 2, 3)]
    )
    check(tmp_path, module(), how, data(*shape), others=others)


@pytest.mark.parametrize("how", ["scripted", "frozen"])
def test_several_inputs_and_outputs_in_order(tmp_path, how):
    _, program = check(tmp_path, Several(), how, data(2, 3, 6, 6), data(2, 2, 9))
    assert program.inputs == ("image", "sound")


def test_a_traced_batch_can_be_another(tmp_path):
    check(
        tmp_path,
        Pooled(),
        "traced",
        data(2, 3, 17, 17),
        others=[(data(5, 3, 17, 17, seed=1),)],
    )


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("module", [Pooled, Decoder])
def test_double_stays_double(tmp_path, module, how):
    check(tmp_path, module().double(), how, data(2, 3, 16, 16, dtype=torch.float64))


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
        sites["head"].run(x)[0],
        functional.linear(x, module.head.weight, module.head.bias),
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


@pytest.mark.parametrize("how", HOW)
def test_gradients_reach_the_input_and_a_weight_that_is_put_in(tmp_path, how):
    module = Pooled()
    _, program = check(tmp_path, module, how, data(2, 3, 17, 17))
    first = next(step for step in program.steps if step.site)
    weight = module.stem.weight.detach().clone().requires_grad_()
    bias = module.stem.bias.detach()
    put_in = replace(
        first, run=lambda x: (functional.conv2d(x, weight, bias, stride=2),)
    )
    program = replace(
        program,
        steps=tuple(put_in if step is first else step for step in program.steps),
    )
    x = data(2, 3, 17, 17, seed=3).requires_grad_()
    programs.run(program, {program.inputs[0]: x})[0].square().sum().backward()
    twin = x.detach().clone().requires_grad_()
    module(twin).square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)
    torch.testing.assert_close(weight.grad, module.stem.weight.grad)


@pytest.mark.parametrize("how", HOW)
def test_weights_are_those_of_the_module(tmp_path, how):
    opened = TorchScriptModel.open(stored(tmp_path, Pooled(), how, data(2, 3, 17, 17)))
    before = hashlib.sha256((tmp_path / f"{how}.pt").read_bytes()).digest()
    program = opened.program()
    site = next(
        step for step in program.steps if step.site and step.op != "aten::linear"
    )
    x = data(2, 3, 19, 19)
    first = site.run(x)[0]
    opened._sites[site.site].weight.data.zero_()
    assert not torch.equal(site.run(x)[0], first)
    assert hashlib.sha256((tmp_path / f"{how}.pt").read_bytes()).digest() == before


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    "module", [Pooled, pytest.param(Branches, marks=pytest.mark.slow)]
)
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
    used = {name for step in program.steps for name in step.takes} | set(
        program.outputs
    )
    assert all(not used.isdisjoint(step.gives) for step in program.steps)


def test_random_numbers_are_drawn_at_every_run(tmp_path):
    program = TorchScriptModel.open(stored(tmp_path, Noise(), "scripted")).program()
    x = torch.zeros(4)
    assert not torch.equal(
        programs.run(program, {"x": x})[0], programs.run(program, {"x": x})[0]
    )


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


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Counting, "keeps state from one call to the next: seen"),
        (Endless, "values once its loops are unrolled"),
        (Unordered, "how many outputs it has"),
        (Forked, "prim::fork, which is no operator"),
    ],
)
def test_what_cannot_be_taken_apart_is_said_in_words(
    tmp_path, monkeypatch, module, words
):
    monkeypatch.setattr(value_names, "_MOST_VALUES", 500)
    opened = TorchScriptModel.open(stored(tmp_path, module(), "scripted"))
    with pytest.raises(NoProgramError, match=words):
        opened.program()
