"""Activation functions, against their formulas in numpy."""

import numpy as np
import pytest
import torch

from worker.engine.formats.onnx.operators.activations import TABLE
from worker.engine.formats.onnx.operators.operator import Operand, UnlistedError

X = np.linspace(-3, 3, 13)


def logistic(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("kind", "attributes", "expected"),
    [
        ("LeakyRelu", {}, np.where(X < 0, 0.01 * X, X)),
        ("Elu", {"alpha": 2.0}, np.where(X < 0, 2 * np.expm1(X), X)),
        (
            "Selu",
            {"alpha": 1.5, "gamma": 3.0},
            3 * np.where(X < 0, 1.5 * np.expm1(X), X),
        ),
        ("Celu", {"alpha": 2.0}, np.where(X < 0, 2 * np.expm1(X / 2), X)),
        ("HardSigmoid", {"alpha": 0.5, "beta": 0.1}, np.clip(0.5 * X + 0.1, 0, 1)),
        ("HardSwish", {}, X * np.clip(X / 6 + 0.5, 0, 1)),
        ("ThresholdedRelu", {}, np.where(X > 1, X, 0)),
        (
            "Shrink",
            {"lambd": 1.2, "bias": 0.2},
            np.where(X > 1.2, X - 0.2, np.where(X < -1.2, X + 0.2, 0)),
        ),
        ("Swish", {"alpha": 2.0}, X * logistic(2 * X)),
        ("Mish", {}, X * np.tanh(np.log1p(np.exp(X)))),
        (
            "Gelu",
            {"approximate": "tanh"},
            X / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (X + 0.044715 * X**3))),
        ),
    ],
)
def test_a_function_is_its_formula(entry, kind, attributes, expected):
    y = entry(TABLE, kind, **attributes)(torch.from_numpy(X))
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-6)


def test_a_softmax_of_an_older_opset_is_one_of_all_later_axes(entry):
    x = torch.arange(12.0).reshape(2, 2, 3)
    newer = entry(TABLE, "Softmax")(x)
    older = entry(TABLE, "Softmax", opset=12)(x)
    torch.testing.assert_close(newer.sum(-1), torch.ones(2, 2))
    torch.testing.assert_close(older.sum((1, 2)), torch.ones(2))


def test_the_axis_after_the_last_one_has_a_softmax_of_single_numbers(entry):
    y = entry(TABLE, "Softmax", opset=12, axis=2)(torch.rand(2, 3))
    assert y.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_integers_are_not_shrunk_in_torch(entry):
    with pytest.raises(UnlistedError):
        entry(TABLE, "Shrink", inputs=[Operand(torch.int32, 1)])
