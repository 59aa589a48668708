"""Programs run from their files."""

import numpy as np
import pytest
import torch
from support.pt2.programs import write
from torch import nn

from convpress.refusal import Code, Refusal
from worker.engine.formats.pt2.runner import load


class Net(nn.Module):
    """It writes into its input, and gives several outputs."""

    def forward(self, x):
        x.add_(1)
        return {"half": x.bfloat16(), "all": (x, x.sum())}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runner") / "model.pt2"
    write(path, Net(), torch.zeros(2, 3))
    return load(path)


def test_outputs_are_named_by_their_places_and_inputs_stay(run):
    x = np.ones((4, 3), np.float32)
    for _ in range(2):
        outputs = run({"x": x})
        assert list(outputs) == ["output_half", "output_all_0", "output_all_1"]
        assert outputs["output_half"].dtype == np.float32
        np.testing.assert_array_equal(outputs["output_all_0"], np.full((4, 3), 2))
        assert outputs["output_all_1"] == 24
    assert (x == 1).all()


def test_inputs_that_do_not_fit_are_refused(run):
    with pytest.raises(Refusal, match="cannot run the model") as refused:
        run({"x": np.ones((4, 5), np.float32)})
    assert refused.value.code == Code.MODEL_INVALID
