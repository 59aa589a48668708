"""Inputs go by the names and types of the file, however they were nested at export."""

import numpy as np
import pytest
import torch
from support.pt2.programs import opened, write
from torch import nn

from worker.engine.formats.pt2 import runner
from worker.engine.model import NUMBER, TensorSpec


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.linear = nn.Linear(4, 3)

    def forward(self, pair, scale, shift, masks):
        first, tokens = pair
        x = first + self.embedding(tokens)
        x = x.masked_fill(masks["left_out"].unsqueeze(-1), 0.0)
        return {"scores": self.linear(x * scale), "rest": [x, shift]}


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    path = tmp_path_factory.mktemp("nested") / "model.pt2"
    torch.manual_seed(0)
    module = Nested()
    masks = {"left_out": torch.zeros(2, 5, dtype=torch.bool)}
    pair = [torch.randn(2, 5, 4), torch.zeros(2, 5, dtype=torch.int64)]
    write(path, module, pair, 2.0, None, masks, batch=None)
    return path, module


def test_items_of_lists_and_dictionaries_are_inputs_of_their_own(nested):
    path, _ = nested
    model = opened(path)
    assert model.inputs == (
        TensorSpec("pair_0", "float32", (2, 5, 4)),
        TensorSpec("pair_1", "int64", (2, 5), rows=9),
        TensorSpec("masks_left_out", "bool", (2, 5), leaves_out=True),
    )
    assert model.outputs == (
        TensorSpec("output_scores", "float32", (2, 5, 3)),
        TensorSpec("output_rest_0", "float32", (2, 5, 4)),
    )
    assert model.bind(None) == {
        "pair_0": (2, 5, 4),
        "pair_1": (2, 5),
        "masks_left_out": (2, 5),
    }


def test_a_runner_nests_them_again_and_keeps_what_is_fixed(nested):
    path, module = nested
    left_out = np.zeros((2, 5), bool)
    left_out[:, 3] = True
    tokens = np.arange(10).reshape(2, 5) % 9
    data = np.ones((2, 5, 4), np.float32)
    inputs = {"pair_0": data, "pair_1": tokens, "masks_left_out": left_out}
    actual = runner.load(path)(inputs)
    with torch.no_grad():
        pair = [torch.from_numpy(data), torch.from_numpy(tokens)]
        expected = module(pair, 2.0, None, {"left_out": torch.from_numpy(left_out)})
    assert list(actual) == ["output_scores", "output_rest_0"]
    np.testing.assert_allclose(actual["output_scores"], expected["scores"], atol=1e-6)


class Tiled(nn.Module):
    def forward(self, x, times):
        return torch.cat([x, x], 1)[:, : times + 1] * times


def test_a_whole_number_is_an_input(tmp_path):
    path = tmp_path / "model.pt2"
    program = torch.export.export(
        Tiled(), (torch.randn(1, 4), 3), dynamic_shapes=(None, torch.export.Dim.DYNAMIC)
    )
    torch.export.save(program, path)
    model = opened(path)
    assert model.inputs[1] == TensorSpec("times", NUMBER, None)
    x = np.ones((1, 4), np.float32)
    actual = runner.load(path)({"x": x, "times": np.asarray(4)})
    assert actual["output"].tolist() == [[4.0] * 5]
