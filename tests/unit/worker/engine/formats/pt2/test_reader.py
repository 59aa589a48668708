"""Steps never write into their inputs, whatever the graph writes into."""

import pytest
import torch
from support.pt2.programs import Images, opened, write
from torch import nn

from worker.engine import program as programs


class Writing(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1)
        self.register_buffer("calls", torch.ones(3))

    def forward(self, x):
        y = self.conv(x)
        row = y[:, 1]
        view = y.reshape(y.shape[0], 3, -1)
        row.mul_(self.calls[0] * 2)
        y[:, 0] = 1.0
        self.calls.add_(view.mean((0, 2)))
        return view.sum(2), row, torch.relu_(y), self.calls * 1


@pytest.mark.parametrize("decomposed", [False, True])
def test_views_and_buffers_change_along_with_what_is_written(tmp_path, decomposed):
    torch.manual_seed(0)
    path = tmp_path / "model.pt2"
    write(path, Writing(), torch.randn(2, 2, 4, 4), decomposed=decomposed)
    program = opened(path).program()
    x = torch.randn(3, 2, 4, 4)
    before = x.clone()
    first = programs.run(program, {"x": x})
    again = programs.run(program, {"x": x})
    expected = torch.export.load(path).module()(x)
    for one, other, output in zip(first, again, expected, strict=True):
        torch.testing.assert_close(one, output)
        torch.testing.assert_close(other, output)
    assert torch.equal(x, before)


def test_norms_hold_the_stored_statistics(tmp_path):
    module = Images()
    for decomposed in (False, True):
        path = tmp_path / "model.pt2"
        write(path, module, torch.randn(2, 3, 9, 9), decomposed=decomposed)
        program = opened(path).program()
        (step,) = [step for step in program.steps if step.norm is not None]
        assert torch.equal(step.norm.mean, module.norm.running_mean)
        assert torch.equal(step.norm.variance, module.norm.running_var)
        assert step.norm.epsilon == module.norm.eps
        data = torch.randn(2, 8, 4, 4)
        (actual,) = step.run(data)
        torch.testing.assert_close(actual, module.norm(data))
        assert len(step.takes) == 1


def test_steps_take_data_with_the_channels_last(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    write(tmp_path / "model.pt2", module, torch.randn(2, 3, 6, 6), decomposed=True)
    program = opened(tmp_path / "model.pt2").program()
    x = torch.randn(2, 3, 6, 6).contiguous(memory_format=torch.channels_last)
    (output,) = programs.run(program, {program.inputs[0]: x})
    torch.testing.assert_close(output, module(x))


def test_gradients_flow_through_the_steps_to_the_input(tmp_path):
    module = Images()
    write(tmp_path / "model.pt2", module, torch.randn(2, 3, 9, 9))
    program = opened(tmp_path / "model.pt2").program()
    x = torch.randn(2, 3, 9, 9, requires_grad=True)
    (output,) = programs.run(program, {"x": x})
    (actual,) = torch.autograd.grad(output.square().sum(), x)
    (expected,) = torch.autograd.grad(module(x).square().sum(), x)
    torch.testing.assert_close(actual, expected)
