"""A program's cost, by hand from the shapes of its layers."""

import pytest
import torch
from support.pt2.programs import write
from torch import nn

from convpress.refusal import Code, Refusal
from worker.engine.formats.pt2.profile import count
from worker.engine.model import ALONE, TensorSpec

SPECS = [TensorSpec("x", "float32", ("batch", 3, 6, 6))]


class Net(nn.Module):
    """A layer whose weight is a product of parameters, before a plain one."""

    def __init__(self):
        super().__init__()
        self.left = nn.Parameter(torch.randn(4, 2))
        self.right = nn.Parameter(torch.randn(2, 3))
        self.head = nn.Linear(36, 5)

    def forward(self, x):
        weight = (self.left @ self.right).unsqueeze(-1).unsqueeze(-1)
        y = nn.functional.conv2d(x, weight, stride=2)
        return self.head(y.flatten(1))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("profile") / "model.pt2"
    write(path, Net(), torch.randn(2, 3, 6, 6))
    return torch.export.load(path)


def test_layers_count_for_these_shapes_and_products_of_parameters_apart(program):
    profile = count(program, SPECS, {"x": (7, 3, 6, 6)})
    macs = {site.name: site.macs for site in profile.sites}
    assert macs.pop("head") == 7 * 36 * 5
    alone = {site.name: site.macs for site in profile.sites if site.reason == ALONE}
    assert alone == {"parameters": 4 * 2 * 3}
    del macs["parameters"]
    assert list(macs.values()) == [7 * 9 * 4 * 3]
    assert profile.unaccounted == ()


def test_a_shape_that_the_program_cannot_take_is_refused(program):
    with pytest.raises(Refusal, match="cannot be run on this input shape") as refused:
        count(program, SPECS, {"x": (7, 3, 4, 4)})
    assert refused.value.code == Code.INPUT_SHAPE_MISMATCH
    assert refused.value.got == "x=7x3x4x4"
