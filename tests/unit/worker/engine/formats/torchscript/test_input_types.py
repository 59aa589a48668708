"""The types of inputs: what operators tell, what a run tells, and what the user says."""

import numpy as np
import pytest
import torch
from support.torchscript.modules import scripted, write
from torch import Tensor, nn

from convpress.refusal import Code, Refusal
from convpress.shapes import parse_input_shape
from worker.engine.formats.torchscript import runner
from worker.engine.formats.torchscript.model import TorchScriptModel
from worker.engine.numerics.random_inputs import random_inputs


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(100, 4)
        self.conv = nn.Conv1d(4, 8, 3, padding=1)

    def forward(self, tokens, mask: Tensor):
        rows = self.embedding(tokens.view(-1, 20).unsqueeze(0).squeeze(0))
        return self.conv(rows.transpose(1, 2)).masked_fill(mask.unsqueeze(1), 0.0)


def opened(tmp_path, module):
    return TorchScriptModel.open(write(tmp_path, scripted(module)))


def test_operators_tell_indices_their_rows_and_masks(tmp_path):
    model = opened(tmp_path, Tokens())
    tokens, mask = model.inputs
    assert (tokens.dtype, tokens.rows) == ("int64", 100)
    assert (mask.dtype, mask.leaves_out) == ("bool", True)
    shapes = model.bind({"tokens": (1, 20), "mask": (1, 20)})
    assert model.count(shapes).macs == 20 * 8 * 4 * 3
    inputs = random_inputs(model.inputs, shapes)
    assert inputs["tokens"].max() > 20
    assert not inputs["mask"].any()


class Untold(nn.Module):
    """What takes whole numbers alone takes a result of the second input."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)
        self.table = nn.Parameter(torch.rand(9))

    def forward(self, x, choice: Tensor):
        return self.linear(x + self.table[choice * 2])


def test_a_run_tells_the_types_that_no_operator_tells(tmp_path):
    model = opened(tmp_path, Untold())
    shapes = model.bind({"x": (2, 6), "choice": (2, 6)})
    assert model.count(shapes).macs == 2 * 6 * 3
    assert [spec.dtype for spec in model.inputs] == ["float32", "int64"]


class Either(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x):
        return self.linear(x.float())


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "float64"])
def test_the_user_can_say_the_type(tmp_path, dtype):
    model = opened(tmp_path, Either())
    shapes = model.bind(parse_input_shape(f"x={dtype}:2x6"))
    model.count(shapes)
    assert [spec.dtype for spec in model.inputs] == [dtype]
    arrays = random_inputs(model.inputs, shapes)
    assert arrays["x"].dtype == np.dtype(dtype)


def test_a_mistake_that_is_about_no_type_is_told_as_it_is(tmp_path):
    model = opened(tmp_path, Either())
    with pytest.raises(Refusal) as refused:
        model.count(model.bind({"": (2, 5)}))
    assert refused.value.code == Code.INPUT_SHAPE_MISMATCH
    assert model.inputs[0].dtype == "float32"


class Changing(nn.Module):
    def forward(self, x):
        return x.sub_(0.5).mul_(4.0)


def test_each_run_has_fresh_inputs(tmp_path):
    run = runner.load(write(tmp_path, scripted(Changing())))
    inputs = {"x": np.ones((2, 3), np.float32)}
    assert [run(inputs)["output"].max() for _ in range(3)] == [2.0, 2.0, 2.0]
    assert inputs["x"].max() == 1.0


class Spectral(nn.Module):
    """All of its parameters are complex, and its input is not."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 8, dtype=torch.complex64))

    def forward(self, x):
        both = nn.functional.linear(torch.complex(x, x), self.weight)
        return torch.view_as_real(both)


def test_a_module_of_complex_weights_may_take_real_inputs(tmp_path):
    model = opened(tmp_path, Spectral())
    shapes = model.bind({"x": (4, 8)})
    (site,) = model.count(shapes).sites
    assert (site.macs, site.reason) == (4 * 5 * 8, "its weight is of type complex64")
    assert [spec.dtype for spec in model.inputs] == ["float32"]
    inputs = random_inputs(model.inputs, shapes)
    run = runner.load(tmp_path / "model.pt")
    assert run(inputs)["output"].shape == (4, 5, 2)
