"""The sites of a model: their names, and the reasons why some stay."""

import numpy as np
from support.onnx.counting import counted
from support.onnx.splitting import agree, opened_with_count, split_everywhere
from support.onnx.text import written

from worker.engine.model import Call


def test_products_are_told_apart_by_what_is_constant(tmp_path):
    count = counted(
        tmp_path,
        """g (float[2, 5, 8] x) => (float[2, 5, 5] y, float[2, 4, 8] z) <float[8, 6] w,
            float[4, 5] v> {
            [right] a = MatMul(x, w)  [left] z = MatMul(v, x)
            t = Transpose <perm = [0, 2, 1]> (a)  [both] y = MatMul(a, t) }""",
    )
    right, left, both = count.sites
    assert right.weight_shape == (6, 8)
    assert right.macs == 2 * 5 * 8 * 6
    assert right.calls == (Call(10, ()),)
    assert right.macs == right.macs_of([right.convolution])
    assert left.weight_shape == (4, 5)
    assert left.macs == 2 * 4 * 5 * 8
    assert left.convolution is None
    assert both.weight_shape == ()
    assert both.macs == 2 * 5 * 6 * 5
    assert both.convolution is None
    assert [site.reason for site in count.sites] == [
        None,
        "its weight is the left factor of the product",
        "it is a product of two activations and has no weight",
    ]


def test_what_is_left_as_it_is_says_why(tmp_path):
    count = counted(
        tmp_path,
        """g (float[1, 3, 8, 8] x, float[4, 3, 3, 3] k, float[4] c) => (float[1, 4, 6, 6] y)
            <float[4, 3, 3, 3] w,
            float[3, 2, 3, 3] u, float[3, 2, 2, 2] v> {
            [weight] a = Conv(x, k)  [bias] y = Conv(x, w, c)  [transposed] b = ConvTranspose(x, u)
            [shaped] d = ConvTranspose <strides = [2, 2], output_shape = [17, 17]> (x, v) }""",
    )
    assert {site.name: site.reason for site in count.sites} == {
        "weight": "its weight is computed at run time",
        "bias": "its bias is computed at run time",
        "transposed": None,
        "shaped": "its padding depends on its output size",
    }
    *known, shaped = count.sites
    assert shaped.convolution is None
    assert shaped.macs == 64 * 24
    assert [site.macs_of([site.convolution]) for site in known] == [
        site.macs for site in known
    ]


def test_sites_are_named_after_their_nodes_or_weights_and_never_alike(tmp_path):
    count = counted(
        tmp_path,
        """g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y)
            <float[3, 3, 1, 1] one, float[3, 3, 1, 1] two, float[3, 3, 1, 1] three,
                float[3, 3, 1, 1] four> {
            [named] a = Conv(x, one)  [twice] b = Conv(a, two)  [twice] c = Conv(b, three)
            d = Conv(c, four)  e = ConvTranspose(d, four)  y = ConvTranspose(e, two) }""",
    )
    assert [site.name for site in count.sites] == [
        "named",
        "two",
        "three",
        "four",
        "four_2",
        "two_2",
    ]


def test_copies_of_a_weight_are_the_weight(tmp_path):
    path = written(
        tmp_path,
        """g (float[2, 8] x) => (float[2, 8] y) <float[8, 8] w> {
            c = Identity(w)  d = Identity(c)
            a = MatMul(x, w)  b = Relu(a)  e = MatMul(b, c)  f = Relu(e)  y = MatMul(f, d) }""",
    )
    _, count = opened_with_count(path)
    [site] = count.sites
    assert site.reason is None
    assert site.macs == 3 * 2 * 8 * 8
    assert split_everywhere(path, tmp_path / "after.onnx") == [site.name]
    x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
    agree(path, tmp_path / "after.onnx", {"x": x})
