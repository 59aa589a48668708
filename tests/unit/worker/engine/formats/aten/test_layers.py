"""Layers as an operator of a graph states them, by the arguments of torch's schemas."""

import pytest
import torch

from worker.engine.formats.aten.layers import (
    BIAS,
    LEFT_FACTOR,
    NO_ROW,
    SCALED,
    UNKNOWN,
    WEIGHT,
    LayerUse,
    geometry,
    is_layer,
    layer_use,
    operand_positions,
    tensor_key,
    why_not_stored,
)

MATRIX = torch.ones(5, 3)
ROW = torch.ones(5)


class Call:
    """An operator with constant arguments; `turned` is the transpose's source at position 2."""

    def __init__(self, kind, *contents, turned=None):
        self.kind = kind
        self.arity = len(contents)
        self._contents = contents
        self._turned = turned

    def constant(self, position):
        return self._contents[position]

    def path(self, position):
        return f"argument{position}"

    def before_transposition(self, position):
        content = self._contents[position]
        return (self._turned, "turned") if content == "transposed" else None


def conv2d(weight, bias=None, stride=(1,), padding=(0,), dilation=(1,), groups=1):
    return Call(
        "aten::conv2d", UNKNOWN, weight, bias, stride, padding, dilation, groups
    )


def test_a_convolution_has_one_number_for_all_axes():
    weight = torch.ones(8, 3, 3, 5)
    use = layer_use(conv2d(weight, stride=(2,), padding=(1, 2), dilation=(2,)))
    assert (use.op, use.path, use.reason) == ("conv2d", "argument1", None)
    assert use.weight is weight
    convolution = use.convolution
    assert (convolution.stride, convolution.dilation) == ((2, 2), (2, 2))
    assert convolution.padding == ((1, 1), (2, 2))


def test_a_general_convolution_may_be_transposed():
    weight = torch.ones(4, 3, 2)
    settings = ([2], [1], [1], True, [1], 2)
    use = layer_use(Call("aten::convolution", UNKNOWN, weight, None, *settings))
    assert use.op == "conv_transpose1d"
    assert use.convolution.transposed
    assert (use.convolution.output_padding, use.convolution.groups) == ((1,), 2)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (conv2d(UNKNOWN), WEIGHT),
        (conv2d(torch.ones(8, 3, 3, 3), UNKNOWN), BIAS),
        (
            conv2d(torch.ones(8, 3, 3, 3), stride=UNKNOWN),
            "its stride is computed at run time",
        ),
        (
            conv2d(torch.ones(8, 3, 3, 3), stride=(1, 1, 1)),
            "its arguments do not fit its weight",
        ),
        (
            conv2d(torch.ones(8, 3, 3, 3, dtype=torch.int8)),
            "its weight is of type int8",
        ),
        (conv2d(torch.ones(0, 3, 3, 3)), "its weight is empty"),
    ],
)
def test_a_convolution_that_stays_has_its_reason(call, reason):
    assert layer_use(call).reason == reason


@pytest.mark.parametrize(
    ("call", "reason", "is_transposed", "data"),
    [
        (Call("aten::linear", UNKNOWN, MATRIX, ROW), None, False, 0),
        (Call("aten::linear", UNKNOWN, MATRIX, UNKNOWN), BIAS, False, 0),
        (
            Call("aten::linear", UNKNOWN, "transposed", None, turned=MATRIX.t()),
            None,
            True,
            0,
        ),
        (Call("aten::mm", UNKNOWN, MATRIX.t()), None, True, 0),
        (Call("aten::mm", UNKNOWN, "transposed", turned=MATRIX), None, False, 0),
        (Call("aten::addmm", ROW, UNKNOWN, MATRIX.t(), 1, 1), None, True, 1),
        (Call("aten::addmm", ROW, UNKNOWN, MATRIX.t(), 1, 2), SCALED, True, 1),
        (
            Call("aten::addmm", torch.ones(2, 5), UNKNOWN, MATRIX.t(), 1, 1),
            NO_ROW,
            True,
            1,
        ),
        (Call("aten::matmul", MATRIX.t(), UNKNOWN), LEFT_FACTOR, True, 1),
    ],
)
def test_a_product_with_a_stored_matrix_is_a_linear_layer(
    call, reason, is_transposed, data
):
    use = layer_use(call)
    assert (use.op, use.reason) == ("linear", reason)
    assert (use.is_transposed, use.data) == (is_transposed, data)
    if reason != LEFT_FACTOR:
        assert use.convolution.weight_shape == (5, 3)


def test_other_operators_are_no_layers():
    assert layer_use(Call("aten::mm", UNKNOWN, UNKNOWN)) is None
    assert layer_use(Call("aten::relu", UNKNOWN)) is None
    assert is_layer("aten::addmm")
    assert not is_layer("aten::relu")


@pytest.mark.parametrize(
    ("kind", "positions"),
    [
        ("aten::conv2d", [1, 2]),
        ("aten::linear", [0, 1, 2]),
        ("aten::mm", [0, 1]),
        ("aten::relu", []),
    ],
)
def test_the_operands_that_may_be_weights(kind, positions):
    assert list(operand_positions(kind)) == positions


@pytest.mark.parametrize(
    ("rule", "dilation", "padding"),
    [("same", 1, (1, 2)), ("same", 2, (3, 3)), ("valid", 1, (0, 0))],
)
def test_padding_by_name_becomes_numbers_of_zeros(rule, dilation, padding):
    assert geometry((2, 1, 4), [1], rule, [dilation], 1).padding == (padding,)


def test_a_convolution_has_a_spatial_axis():
    with pytest.raises(ValueError, match="three axes or more"):
        geometry((2, 1), [1], [0], [1], 1)


def test_a_tensor_is_the_same_under_every_name():
    assert tensor_key(MATRIX) == tensor_key(MATRIX[:])
    assert tensor_key(MATRIX) != tensor_key(MATRIX[1:])
    assert tensor_key(MATRIX) != tensor_key(MATRIX.t())


def test_linear_layers_of_one_weight_are_one_site_whatever_their_bias():
    with_bias = layer_use(Call("aten::linear", UNKNOWN, MATRIX, ROW))
    without = layer_use(Call("aten::linear", UNKNOWN, MATRIX, None))
    assert with_bias.site_key == without.site_key
    weight = torch.ones(8, 3, 3, 3)
    one, other = layer_use(conv2d(weight)), layer_use(conv2d(weight, torch.ones(8)))
    assert one.site_key != other.site_key


def test_a_weight_that_is_not_known_has_no_key():
    assert LayerUse(op="conv2d").site_key.weight is None


def test_weights_of_floats_can_be_factored():
    assert why_not_stored(MATRIX.half()) is None
