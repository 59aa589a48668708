"""Batches as the arrays of single runs."""

import numpy as np
import torch

from worker.engine.calibration.inputs.run_inputs import run_inputs
from worker.engine.model import TensorSpec

IMAGE = TensorSpec("x", "float32", None)
LENGTH = TensorSpec("n", "int64", ())


def test_a_batch_is_cut_into_runs_in_order():
    batch = {"x": torch.arange(12.0).reshape(6, 2)}
    runs = run_inputs([batch], [IMAGE], {"x": (2, 2)}, most=9)
    assert [run["x"].tolist() for run in runs] == [
        [[0, 1], [2, 3]],
        [[4, 5], [6, 7]],
        [[8, 9], [10, 11]],
    ]


def test_no_more_runs_are_returned_than_asked_for():
    batches = [{"x": torch.zeros(4, 2)}] * 3
    assert len(run_inputs(batches, [IMAGE], {"x": (2, 2)}, most=5)) == 5


def test_small_images_fill_a_larger_shape_side_by_side():
    batch = {"x": torch.tensor([[[1.0, 2.0]]])}
    [run] = run_inputs([batch], [IMAGE], {"x": (1, 2, 4)}, most=1)
    assert run["x"].tolist() == [[[1, 2, 1, 2], [1, 2, 1, 2]]]


def test_a_number_is_the_same_in_every_run():
    batch = {"x": torch.zeros(4, 2), "n": torch.tensor(7)}
    runs = run_inputs([batch], [IMAGE, LENGTH], {"x": (2, 2), "n": (7,)}, most=9)
    assert [int(run["n"]) for run in runs] == [7, 7]
    assert runs[0]["n"].dtype == np.int64
