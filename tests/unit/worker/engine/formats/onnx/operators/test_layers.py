"""Convolutions and products, against torch's modules and numpy."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from worker.engine.formats.onnx.operators.layers import TABLE
from worker.engine.formats.onnx.operators.operator import Operand, UnlistedError

IMAGE = torch.arange(60.0).reshape(1, 2, 5, 6).sin()
BIAS = torch.tensor([0.5, -0.5, 1.0, 2.0])
OPERANDS = [Operand(torch.float32, 4), Operand(torch.float32, 4)]


def weight(*shape):
    count = int(np.prod(shape))
    return torch.arange(float(count)).reshape(shape).cos()


def test_a_convolution_pads_the_ends_of_an_axis_unlike(entry):
    conv = entry(
        TABLE, "Conv", inputs=OPERANDS, group=2, pads=[0, 1, 2, 0], strides=[2, 1]
    )
    filters = weight(4, 1, 3, 2)
    padded = functional.pad(IMAGE, (1, 0, 0, 2))
    expected = functional.conv2d(padded, filters, BIAS, stride=(2, 1), groups=2)
    torch.testing.assert_close(conv(IMAGE, filters, BIAS), expected)


def test_a_transposed_convolution_is_cropped_and_extended(entry):
    conv = entry(
        TABLE,
        "ConvTranspose",
        inputs=OPERANDS,
        pads=[1, 1, 1, 1],
        strides=[2, 2],
        output_padding=[1, 0],
    )
    filters = weight(2, 4, 3, 3)
    expected = functional.conv_transpose2d(
        IMAGE, filters, BIAS, stride=2, padding=1, output_padding=(1, 0)
    )
    torch.testing.assert_close(conv(IMAGE, filters, BIAS), expected)


@pytest.mark.parametrize(
    ("attributes", "rows", "columns"),
    [
        ({"output_shape": [10, 12]}, slice(1, 11), slice(1, 13)),
        ({"auto_pad": "SAME_UPPER"}, slice(0, 10), slice(0, 12)),
        ({"auto_pad": "SAME_LOWER"}, slice(1, 11), slice(1, 13)),
    ],
)
def test_a_transposed_convolution_is_cropped_to_the_size_of_its_output(
    entry, attributes, rows, columns
):
    conv = entry(TABLE, "ConvTranspose", inputs=OPERANDS, strides=[2, 2], **attributes)
    filters = weight(2, 4, 3, 3)
    full = functional.conv_transpose2d(IMAGE, filters, stride=2)
    torch.testing.assert_close(conv(IMAGE, filters), full[..., rows, columns])


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_is_its_formula(entry, transposed):
    a, b = weight(3, 2), weight(4, 3) if transposed else weight(3, 4)
    gemm = entry(TABLE, "Gemm", transA=1, transB=transposed, alpha=0.5, beta=2.0)
    right = b.T if transposed else b
    torch.testing.assert_close(gemm(a, b), 0.5 * a.T @ right)
    torch.testing.assert_close(gemm(a, b, BIAS), 0.5 * a.T @ right + 2 * BIAS)


def test_a_gemm_adds_a_row_or_a_column(entry):
    gemm = entry(TABLE, "Gemm")
    a, b = weight(2, 3), weight(3, 4)
    column = torch.tensor([[1.0], [2.0]])
    torch.testing.assert_close(gemm(a, b, BIAS), a @ b + BIAS)
    torch.testing.assert_close(gemm(a, b, column), a @ b + column)


def test_products_of_integers_are_left_to_the_runtime(entry):
    with pytest.raises(UnlistedError):
        entry(TABLE, "Gemm", inputs=[Operand(torch.int32, 2)])


def test_an_einsum_sums_over_what_the_result_lacks(entry):
    a, b = weight(2, 3), weight(3, 4)
    einsum = entry(TABLE, "Einsum", equation="ij,jk->ki")
    expected = np.einsum("ij,jk->ki", a.numpy(), b.numpy())
    np.testing.assert_allclose(einsum(a, b).numpy(), expected, rtol=1e-6)
