"""The outputs of a run, named by their places."""

import numpy as np
import torch

from worker.engine.formats.aten.outputs import named_outputs


def test_outputs_are_named_by_their_place_and_their_key():
    value = (torch.ones(2), {"a": [torch.zeros(1), 3]}, None, "text")
    outputs = dict(named_outputs(value, "output"))
    assert {name: array.tolist() for name, array in outputs.items()} == {
        "output_0": [1, 1],
        "output_1_a_0": [0],
        "output_1_a_1": 3,
    }


def test_a_single_output_has_the_bare_name():
    ((name, array),) = named_outputs(torch.ones(1, dtype=torch.bfloat16), "output")
    assert (name, array.dtype) == ("output", np.float32)


def test_a_tensor_of_a_graph_is_detached():
    ((_, array),) = named_outputs(torch.ones(1, requires_grad=True), "y")
    assert array.tolist() == [1]
