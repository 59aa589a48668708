"""Programs are in evaluation mode and in single precision, whatever the module is in."""

from typing import Tuple  # noqa: UP035 - what TorchScript understands

import pytest
import torch
from support.torchscript.programs import HOW, Pooled, check, data, steps_of, stored
from torch import Tensor, nn

from worker.engine import program as programs
from worker.engine.formats.torchscript.model import TorchScriptModel


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


class Cast(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Pooled()

    def forward(self, x):
        y = self.inner(x.to(torch.float16)).half()
        if bool(y.sum() < 0):
            y = y.to(dtype=torch.bfloat16)
        return (
            torch.zeros(1, dtype=torch.float16) + y + torch.full((1,), 0.1).type_as(y)
        )


@pytest.mark.parametrize("how", HOW)
def test_dropout_hands_its_input_on(tmp_path, how):
    others = [] if how == "traced" else [(data(3, 4, seed=seed),) for seed in (1, 2, 3)]
    check(tmp_path, Leaves(), how, data(3, 4), others=others)


@pytest.mark.parametrize("how", ["scripted", "frozen"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(tmp_path, dtype, how):
    torch.manual_seed(0)
    module = Cast().to(dtype)
    program = TorchScriptModel.open(stored(tmp_path, module, how)).program()
    x = data(2, 3, 17, 17)
    (actual,) = programs.run(program, {"x": x})
    exact = module.float().eval().inner(x) + 0.1
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, exact)


def test_a_program_has_no_dropout(tmp_path):
    _, program = check(tmp_path, Pooled(), "traced", data(2, 3, 17, 17))
    assert not steps_of(program, "aten::dropout")
