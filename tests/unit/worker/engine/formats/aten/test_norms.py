"""Normalisations hold the stored statistics, or leave them alone."""

import warnings

import pytest
import torch
from support.torchscript.programs import Pooled, check, data
from torch import nn

from worker.engine import program as programs
from worker.engine.formats.aten.layers import UNKNOWN
from worker.engine.formats.aten.norms import stored_statistics
from worker.engine.formats.torchscript.model import TorchScriptModel
from worker.engine.program import NoProgramError


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
        # tracing writes the mode into the graph
        traced = torch.jit.trace(module.train(), data(4, 3, 5, 5))
    traced.save(tmp_path / "model.pt")
    opened = TorchScriptModel.open(tmp_path / "model.pt")
    before = {
        name: tensor.clone() for name, tensor in opened._module.state_dict().items()
    }
    program = opened.program()
    x = data(4, 3, 5, 5, seed=2)
    (actual,) = programs.run(program, {program.inputs[0]: x})
    torch.testing.assert_close(actual, torch.jit.load(tmp_path / "model.pt").eval()(x))
    assert all(
        torch.equal(before[name], tensor)
        for name, tensor in opened._module.state_dict().items()
    )
    assert not any(step.norm for step in program.steps)


WEIGHT, BIAS, MEAN, VARIANCE = (torch.full((3,), value) for value in (1.0, 2, 3, 4))


def statistics(mean=MEAN, own=False, epsilon=0.1):
    contents = [None, WEIGHT, BIAS, mean, VARIANCE, own, 0.5, epsilon]
    return stored_statistics("aten::batch_norm", contents)


def test_the_stored_statistics_are_those_among_the_arguments():
    norm = statistics()
    assert (norm.mean, norm.variance, norm.epsilon) == (MEAN, VARIANCE, 0.1)
    assert (norm.weight, norm.bias) == (WEIGHT, BIAS)


@pytest.mark.parametrize(
    "arguments",
    [{"mean": None, "own": True}, {"mean": None}, {"epsilon": UNKNOWN}],
)
def test_the_datas_own_statistics_are_none(arguments):
    assert statistics(**arguments) is None


@pytest.mark.parametrize("own", [True, UNKNOWN])
def test_statistics_that_a_run_may_change_leave_no_program(own):
    with pytest.raises(NoProgramError, match="batch_norm may write"):
        statistics(own=own)
