"""Normalisations, against their formulas in numpy."""

import numpy as np
import pytest
import torch

from worker.engine.formats.onnx.operators.norms import TABLE
from worker.engine.formats.onnx.operators.operator import Operand, UnlistedError

X = np.random.default_rng(0).standard_normal((2, 4, 3, 5))
DATA = torch.from_numpy(X)
SCALE = np.array([1.0, 2.0, 0.5, -1.0])
BIAS = np.array([0.0, 1.0, -1.0, 2.0])
PER_CHANNEL = (slice(None), None, None)
EPSILON = 0.01


def close(actual, expected):
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-6, atol=1e-9)


def normal(x, axes):
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + EPSILON)


def test_a_batch_is_normalised_by_stored_statistics(entry):
    mean, variance = np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 2.0, 3.0, 4.0])
    tensors = [torch.from_numpy(each) for each in (SCALE, BIAS, mean, variance)]
    y = entry(TABLE, "BatchNormalization", epsilon=EPSILON)(DATA, *tensors)
    deviation = np.sqrt(variance + EPSILON)
    expected = (X - mean[PER_CHANNEL]) / deviation[PER_CHANNEL]
    close(y, expected * SCALE[PER_CHANNEL] + BIAS[PER_CHANNEL])


@pytest.mark.parametrize(
    ("opset", "attributes", "rank"),
    [(15, {"training_mode": 1}, 4), (8, {"spatial": 0}, 4), (15, {}, 1)],
)
def test_other_forms_of_it_are_left_to_the_runtime(entry, opset, attributes, rank):
    inputs = [Operand(torch.float32, rank)]
    with pytest.raises(UnlistedError):
        entry(TABLE, "BatchNormalization", opset=opset, inputs=inputs, **attributes)


def test_an_instance_is_normalised_by_its_own_statistics(entry):
    tensors = torch.from_numpy(SCALE), torch.from_numpy(BIAS)
    y = entry(TABLE, "InstanceNormalization", epsilon=EPSILON)(DATA, *tensors)
    expected = normal(X, (2, 3))
    close(y, expected * SCALE[PER_CHANNEL] + BIAS[PER_CHANNEL])


def test_scales_of_groups_were_one_a_group_before_opset_21(entry):
    grouped = normal(X.reshape(2, 2, 2, 3, 5), (2, 3, 4)).reshape(X.shape)
    settings = {"num_groups": 2, "epsilon": EPSILON}
    per_group = torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])
    older = entry(TABLE, "GroupNormalization", opset=18, **settings)(DATA, *per_group)
    scale, bias = np.array([2, 2, 3, 3]), np.array([0, 0, 1, 1])
    expected = grouped * scale[PER_CHANNEL] + bias[PER_CHANNEL]
    close(older, expected)
    newer = entry(TABLE, "GroupNormalization", **settings)
    close(newer(DATA, torch.from_numpy(scale), torch.from_numpy(bias)), expected)


def test_a_layer_gives_its_statistics_where_they_are_used(entry):
    norm = entry(TABLE, "LayerNormalization", outputs=3, axis=2, epsilon=EPSILON)
    scale = torch.full((3, 5), 2.0, dtype=torch.float64)
    y, mean, inverse = norm(DATA, scale, torch.ones_like(scale))
    close(y, 2 * normal(X, (2, 3)) + 1)
    close(mean, X.mean((2, 3), keepdims=True))
    close(inverse, 1 / np.sqrt(X.var((2, 3), keepdims=True) + EPSILON))
    alone = entry(TABLE, "LayerNormalization", axis=2, epsilon=EPSILON)
    close(alone(DATA, scale), 2 * normal(X, (2, 3)))


def test_a_root_mean_square_has_no_mean(entry):
    norm = entry(TABLE, "RMSNormalization", axis=-2, epsilon=EPSILON)
    mean_square = (X**2).mean((2, 3), keepdims=True)
    close(norm(DATA, torch.tensor(3.0)), 3 * X / np.sqrt(mean_square + EPSILON))


def test_mean_and_deviation_leave_the_channels_by_default(entry):
    y = entry(TABLE, "MeanVarianceNormalization")(DATA)
    axes = (0, 2, 3)
    close(y, (X - X.mean(axes, keepdims=True)) / X.std(axes, keepdims=True))


def test_a_vector_of_zeros_stays(entry):
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    y = entry(TABLE, "LpNormalization")(x)
    assert y.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


def test_a_channel_is_divided_by_its_neighbours_and_one_more_comes_after_it(entry):
    settings = {"size": 2, "alpha": 0.5, "beta": 2.0, "bias": 1.5}
    y = entry(TABLE, "LRN", **settings)(DATA)
    after = np.concatenate([X[:, 1:], np.zeros_like(X[:, :1])], axis=1)
    close(y, X / (1.5 + 0.5 / 2 * (X**2 + after**2)) ** 2)
