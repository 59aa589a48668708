"""Convolutions of any geometry: a replacement that equals one leaves the outputs as they were."""

from functools import partial
from math import prod

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.engine.chains import in_form, split_exactly, with_bias
from support.onnx.replacing import TOLERANCE, one_layer
from support.onnx.text import distance, outputs, written

from worker.engine.decompose import FORMS
from worker.engine.formats import open_model


@st.composite
def convolutions(draw):
    """A Conv node with its shapes: one to three axes, grouped, strided, dilated, padded in every
    way ONNX has.
    """
    axes = draw(st.integers(1, 3))

    def per_axis(low, high):
        return draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes))

    kernel = per_axis(1, 3)
    strides = per_axis(1, 3)
    dilations = per_axis(1, 2)
    groups = draw(st.integers(1, 3))
    inner = draw(st.integers(1, 3))
    outer = draw(st.integers(1, 3))
    size = [draw(st.integers(1, 9)) for _ in range(axes)]
    rule = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", None]))
    if rule in ("SAME_UPPER", "SAME_LOWER"):
        dilations = [1] * axes  # ONNX Runtime takes no others with these
    attributes = {"strides": strides, "dilations": dilations, "group": groups}
    pads = per_axis(0, 2) + per_axis(0, 2)
    if rule is None:
        attributes["pads"] = pads
    else:
        attributes["auto_pad"] = rule
    if rule in (None, "NOTSET", "VALID"):
        for axis, length in enumerate(size):
            zeros = pads[axis] + pads[axis + axes] if rule is None else 0
            reach = dilations[axis] * (kernel[axis] - 1) + 1
            assume(length + zeros >= reach)
    if draw(st.booleans()):
        attributes["kernel_shape"] = kernel
    weight = (groups * outer, inner, *kernel)
    shape = (draw(st.integers(1, 2)), groups * inner, *size)
    return attributes, weight, shape, draw(st.booleans())


@st.composite
def transposed_convolutions(draw):
    """A ConvTranspose node with its shapes."""
    axes = draw(st.integers(1, 3))

    def per_axis(low, high):
        return draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes))

    kernel = per_axis(1, 3)
    strides = per_axis(1, 3)
    dilations = per_axis(1, 2)
    more = [draw(st.integers(0, stride - 1)) for stride in strides]
    pads = [
        draw(st.integers(0, dilations[axis % axes] * (kernel[axis % axes] - 1)))
        for axis in range(2 * axes)
    ]
    groups = draw(st.integers(1, 3))
    inner = draw(st.integers(1, 3))
    outer = draw(st.integers(1, 3))
    size = [draw(st.integers(3, 6)) for _ in range(axes)]
    attributes = {
        "strides": strides,
        "dilations": dilations,
        "group": groups,
        "pads": pads,
        "output_padding": more,
    }
    axes_values = zip(
        size, strides, dilations, kernel, pads, pads[axes:], more, strict=False
    )
    assume(
        all(
            (n - 1) * s + d * (k - 1) + 1 - before - behind + o > 0
            for n, s, d, k, before, behind, o in axes_values
        )
    )
    return (
        attributes,
        (groups * inner, outer, *kernel),
        (draw(st.integers(1, 2)), groups * inner, *size),
        draw(st.booleans()),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("replaced")


@pytest.mark.parametrize(
    "make",
    [lambda layer: [layer], split_exactly, *(partial(in_form, form) for form in FORMS)],
    ids=["itself", "split", *FORMS],
)
@given(case=convolutions(), constant_nodes=st.booleans())
@settings(max_examples=15, deadline=None)
def test_what_equals_a_convolution_gives_its_outputs(
    folder, make, case, constant_nodes
):
    _, weight_shape, shape, _ = case
    path = written(folder, one_layer(*case, constant_nodes))
    opened = open_model("onnx", path)
    (site,) = opened.count(opened.bind(None)).sites
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (expected,) = outputs(path, {"x": x})

    assert site.reason is None
    # what the runtime gives is the oracle
    assert site.macs == expected.size * prod(weight_shape[1:])
    assert site.macs == site.macs_of([site.convolution])
    layer = opened.layer(site)
    opened.replace(site, make(layer))
    opened.save(folder / "after.onnx")

    onnx.checker.check_model(str(folder / "after.onnx"), full_check=True)
    (actual,) = outputs(folder / "after.onnx", {"x": x})
    assert actual.shape == expected.shape
    assert distance(actual, expected) <= TOLERANCE
    after = open_model("onnx", folder / "after.onnx")
    chain = [each.convolution for each in make(layer)]
    assert after.count(after.bind(None)).macs == site.macs_of(chain)


@given(case=transposed_convolutions())
@settings(max_examples=60, deadline=None)
def test_what_equals_a_transposed_convolution_gives_its_outputs(folder, case):
    _, weight_shape, shape, _ = case
    path = written(folder, one_layer(*case, op="ConvTranspose"))
    opened = open_model("onnx", path)
    (site,) = opened.count(opened.bind(None)).sites
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (expected,) = outputs(path, {"x": x})

    assert site.reason is None
    assert (
        site.macs
        == x.size // shape[1] * prod(weight_shape)
        == site.macs_of([site.convolution])
    )
    assert site.convolution.output_size(shape[2:]) == expected.shape[2:]
    opened.replace(site, with_bias(opened.layer(site), 0.5))
    opened.save(folder / "after.onnx")

    onnx.checker.check_model(str(folder / "after.onnx"), full_check=True)
    (actual,) = outputs(folder / "after.onnx", {"x": x})
    assert distance(actual, expected + 0.5) <= TOLERANCE
