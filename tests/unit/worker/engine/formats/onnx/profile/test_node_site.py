"""The site of one node: its cost by hand, and why it stays."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from convpress.refusal import Refusal
from worker.engine.formats.onnx import linear
from worker.engine.formats.onnx.constants import Constant, Fold
from worker.engine.formats.onnx.profile import node_site
from worker.engine.formats.onnx.profile.counting_rule import EINSUM, RECURRENT
from worker.engine.formats.onnx.profile.node_site import counted_node
from worker.engine.formats.onnx.profile.node_use import NodeUse
from worker.engine.formats.onnx.shapes import InputShapeError
from worker.engine.model import QUANTISED, Call


def stored(name, shape, dtype=np.float32):
    tensor = numpy_helper.from_array(np.zeros(shape, dtype), name)
    return Constant(tensor, name)


def use(kind, shapes, weights=("w",), inputs=("x", "w"), **attributes):
    """A node whose named inputs have these shapes, some of which are stored."""
    node = helper.make_node(kind, inputs, ["y"], **attributes)
    constants = {name: stored(name, shapes[name]) for name in weights}
    return NodeUse(node, constants.get("w"), shapes, constants, 2, None)


CONV = {"x": (5, 3, 8, 9), "w": (4, 3, 3, 3)}


def test_a_convolution_has_its_calls_and_its_geometry():
    site = counted_node(use("Conv", CONV, strides=[2, 1])).site
    assert (site.name, site.op, site.reason) == ("w", "Conv", None)
    assert site.calls == (Call(5, (8, 9), 2),)
    assert site.macs == 2 * 5 * (3 * 7) * 108
    assert (site.convolution.stride, site.itemsize) == ((2, 1), 4)


def test_a_transposed_convolution_counts_by_its_input():
    shapes = {"x": (5, 4, 2, 2), "w": (4, 3, 3, 3)}
    site = counted_node(use("ConvTranspose", shapes)).site
    assert site.macs == 2 * 5 * 4 * 108


def test_padding_that_depends_on_the_outputs_size_is_no_geometry():
    shapes = {"x": (1, 4, 2, 2), "w": (4, 3, 3, 3)}
    site = counted_node(use("ConvTranspose", shapes, output_shape=[5, 5])).site
    assert (site.convolution, site.reason) == (None, node_site.OUTPUT_SHAPE)
    assert site.macs == 2 * 4 * 108


@pytest.mark.parametrize(
    ("weights", "inputs", "reason"),
    [
        ((), ("x", "w"), node_site.RUN_TIME_WEIGHT),
        (("w",), ("x", "w", "b"), linear.RUN_TIME_BIAS),
    ],
)
def test_what_is_computed_at_run_time_stays(weights, inputs, reason):
    assert counted_node(use("Conv", CONV, weights, inputs)).site.reason == reason


@pytest.mark.parametrize(
    ("constant", "reason", "itemsize"),
    [
        (stored("w", (4, 3, 3, 3), np.float16), None, 2),
        (stored("w", (4, 3, 3, 3), np.int8), "its weight is of type int8", 4),
        (
            Constant(
                stored("w", (4, 3, 3, 3), np.int8).tensor,
                "w",
                (Fold(helper.make_node("DequantizeLinear", ["w"], ["v"]), None),),
            ),
            QUANTISED,
            4,
        ),
        (
            Constant(TensorProto(name="w", dims=(4, 3, 3, 3), data_type=99), "w"),
            "its weight is of type 99",
            4,
        ),
    ],
)
def test_a_weight_is_stored_in_floats(constant, reason, itemsize):
    each = replace(use("Conv", CONV), constants={"w": constant})
    site = counted_node(each).site
    assert (site.reason, site.itemsize) == (reason, itemsize)


@pytest.mark.parametrize("size", [(5, 2, 8, 9), (5, 3, 8), (5, 3, 2, 9)])
def test_an_input_that_does_not_fit_is_an_error_unless_its_branch_does_not_run(size):
    each = use("Conv", {**CONV, "x": size})
    with pytest.raises(InputShapeError, match="Conv 'y'"):
        counted_node(each)
    for reason in (node_site.IN_BRANCH, node_site.CHEAPER):
        assert counted_node(replace(each, reason=reason)).site is None


def test_a_convolution_that_contradicts_itself_is_refused():
    with pytest.raises(Refusal):
        counted_node(use("Conv", CONV, strides=[2]))


MATRIX = {"x": (5, 2, 8), "w": (8, 3)}


def test_a_product_with_a_stored_matrix_is_a_linear_layer():
    site = counted_node(use("MatMul", MATRIX)).site
    assert (site.name, site.weight_shape, site.reason) == ("w", (3, 8), None)
    assert site.calls == (Call(10, (), 2),)
    assert site.macs == 2 * 10 * 24


@pytest.mark.parametrize(
    ("shapes", "weights", "name", "reason"),
    [
        ({"x": (8, 2), "w": (2, 5)}, ("x",), "x", node_site.LEFT_FACTOR),
        ({"x": (4, 5, 8), "w": (4, 8, 2)}, ("w",), "w", node_site.NO_MATRIX),
        ({"x": (5, 8), "w": (8, 2)}, (), "y", node_site.NO_WEIGHT),
    ],
)
def test_other_products_stay(shapes, weights, name, reason):
    site = counted_node(use("MatMul", shapes, weights)).site
    assert (site.name, site.reason, site.convolution) == (name, reason, None)
    assert site.macs > 0


def test_a_gemm_may_be_transposed():
    shapes = {"x": (8, 5), "w": (3, 8)}
    site = counted_node(use("Gemm", shapes, transA=1, transB=1)).site
    assert site.macs == 2 * 5 * 8 * 3
    with pytest.raises(InputShapeError, match="Gemm"):
        counted_node(use("Gemm", shapes))


def test_an_einsum_is_named_after_its_weight_or_else_its_output():
    shapes = {"x": (5, 8), "w": (8, 3)}
    with_weight = use("Einsum", shapes, equation="ij,jk->ik")
    site = counted_node(with_weight).site
    assert (site.name, site.macs, site.reason) == ("w", 2 * 120, EINSUM)
    site = counted_node(replace(with_weight, constants={})).site
    assert (site.name, site.reason) == ("y", node_site.NO_WEIGHT)


def test_a_recurrent_layer_stays_by_its_own_reason():
    shapes = {"x": (5, 2, 8), "w": (1, 16, 8), "r": (1, 16, 4)}
    each = use("LSTM", shapes, inputs=("x", "w", "r"), hidden_size=4)
    site = counted_node(each).site
    assert (site.name, site.macs, site.reason) == ("w", 2 * 10 * 192, RECURRENT)


def test_what_is_not_known_or_not_counted_is_no_site():
    each = use("Conv", CONV)
    assert counted_node(replace(each, runs=None)).site is None
    assert counted_node(replace(each, shapes={})).site is None
    nameless = helper.make_node("Conv", ["x", "w"], [])
    assert counted_node(replace(each, node=nameless)).site is None


def test_the_reason_of_the_use_goes_before_that_of_the_node():
    each = replace(use("Conv", CONV, weights=()), reason="a reason")
    assert counted_node(each).site.reason == "a reason"


@pytest.mark.parametrize("kind", ["MatMul", "Gemm"])
@pytest.mark.parametrize("shape", [(8, 0), (0, 8)])
def test_a_product_with_a_weight_without_elements_costs_nothing_and_stays(kind, shape):
    site = counted_node(use(kind, {"x": (4, shape[0]), "w": shape})).site
    assert (site.macs, site.convolution) == (0, None)
    assert site.reason == node_site.NO_ELEMENTS
