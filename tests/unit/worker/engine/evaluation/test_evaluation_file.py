"""Samples of an evaluation become runs in the types of the model's inputs."""

import numpy as np
import pytest

from convpress.refusal import Refusal
from worker.engine.evaluation.evaluation_file import read_evaluation
from worker.engine.model import TensorSpec

IMAGE = TensorSpec("image", "float32", ("N", 2))
TOKENS = TensorSpec("tokens", "uint8", ("N", 2))


def read(tmp_path, specs, shapes, **arrays):
    path = tmp_path / "evaluation.npz"
    np.savez(path, **arrays)
    return read_evaluation(path, "top-1", specs, shapes)


def test_the_last_run_is_filled_and_its_labels_are_not(tmp_path):
    image = np.arange(10.0).reshape(5, 2)
    samples = read(
        tmp_path, [IMAGE], {"image": (2, 2)}, image=image, labels=np.arange(5)
    )
    assert (samples.count, samples.batch) == (5, 2)
    runs = list(samples.runs())
    assert [list(truth) for _, truth in runs] == [[0, 1], [2, 3], [4]]
    assert all(inputs["image"].shape == (2, 2) for inputs, _ in runs)
    assert runs[0][0]["image"].dtype == np.float32
    np.testing.assert_array_equal(runs[2][0]["image"], [[8, 9], [8, 9]])


def test_whole_numbers_that_the_input_holds_change_their_type(tmp_path):
    tokens = np.array([[0, 255]], np.int64)
    samples = read(
        tmp_path, [TOKENS], {"tokens": (1, 2)}, tokens=tokens, labels=np.arange(1)
    )
    [(inputs, _)] = samples.runs()
    assert inputs["tokens"].dtype == np.uint8


@pytest.mark.parametrize(
    ("tokens", "detail", "got"),
    [
        (np.array([[0, 256]]), "values that it cannot hold", "0 to 256"),
        (np.array([[-1, 0]]), "values that it cannot hold", "-1 to 0"),
        (np.array([[0.5, 1.0]]), "takes uint8", "f8"),
    ],
)
def test_numbers_that_the_input_cannot_hold_are_refused(tmp_path, tokens, detail, got):
    with pytest.raises(Refusal, match=detail) as refusal:
        read(tmp_path, [TOKENS], {"tokens": (1, 2)}, tokens=tokens, labels=np.arange(1))
    assert got in refusal.value.got


def test_numbers_beyond_the_type_count_as_infinite(tmp_path):
    image = np.full((1, 2), 1e300)
    with pytest.raises(Refusal, match="NaN or infinity"):
        read(tmp_path, [IMAGE], {"image": (1, 2)}, image=image, labels=np.arange(1))


def test_samples_lie_along_the_first_axis_of_every_input(tmp_path):
    other = TensorSpec("state", "float32", (3, 2))
    arrays = {
        "image": np.zeros((1, 2)),
        "state": np.zeros((1, 2)),
        "labels": np.arange(1),
    }
    with pytest.raises(Refusal, match="first axes of the model's inputs differ"):
        read(tmp_path, [IMAGE, other], {"image": (1, 2), "state": (3, 2)}, **arrays)
