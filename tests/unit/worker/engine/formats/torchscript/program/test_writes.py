"""A program changes what a module changes by writing, by every name, and never its own inputs."""

import pytest
import torch
from support.torchscript.programs import HOW, check, data, flat, stored
from torch import nn

from worker.engine import program as programs
from worker.engine.formats.torchscript.model import TorchScriptModel
from worker.engine.program import NoProgramError


class Writes(nn.Module):
    """Views that are written into, and read by every name that their memory has."""

    def forward(self, x):
        y = x * 2
        row = y[:, 1]
        flat = y.view(-1)
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
        tensors = [y]
        if bool(x.sum() > 0):
            row.mul_(2)
            tensors.append(row + 1)
        for _ in range(int(x.size(0))):
            row.add_(1)
        return y, row, torch.stack([item.sum() for item in tensors])


class WritesPieces(nn.Module):
    def forward(self, x):
        y = x + 1
        a, b = y.chunk(2, 0)
        pieces = y.split(1, 1)
        b.copy_(a)
        pieces[0].zero_()
        return y, a, b, pieces[0], pieces[1]


class TwoNames(nn.Module):
    def forward(self, x):
        tensors = [x]
        kept = [tensors]
        if bool(x.sum() > 0):
            tensors.append(x)
        return torch.stack(kept[0])


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("module", "shape"),
    [(Writes, (4, 3, 6)), (WritesPieces, (4, 3)), (WritesInBranch, (3, 4))],
)
def test_a_program_computes_what_a_module_does_that_writes(
    tmp_path, module, shape, how
):
    others = (
        [] if how == "traced" else [(data(*shape, seed=seed),) for seed in (1, 2, 3)]
    )
    check(tmp_path, module(), how, data(*shape), others=others)


@pytest.mark.parametrize("module", [Writes, WritesInBranch])
def test_gradients_flow_through_what_is_written(tmp_path, module):
    shape = (4, 3, 6)
    program = TorchScriptModel.open(stored(tmp_path, module(), "scripted")).program()
    x = data(*shape).double().requires_grad_()
    total = sum(out.sin().sum() for out in programs.run(program, {"x": x}))
    (gradient,) = torch.autograd.grad(total, x)
    twin = x.detach().clone().requires_grad_()
    expected = sum(out.sin().sum() for out in flat(module()(twin * 1)))
    (reference,) = torch.autograd.grad(expected, twin)
    torch.testing.assert_close(gradient, reference)


def test_a_list_that_may_have_several_names_is_not_written(tmp_path):
    opened = TorchScriptModel.open(stored(tmp_path, TwoNames(), "scripted"))
    with pytest.raises(NoProgramError, match="a list that may have several names"):
        opened.program()
