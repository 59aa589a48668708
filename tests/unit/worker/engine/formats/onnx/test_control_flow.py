"""Layers inside If, Loop and Scan: counted along every execution path, and replaced."""

import json
import time

import numpy as np
import onnx
import pytest
from support.engine.calibrating import calibrate_little
from support.onnx.bodies import LOOP
from support.onnx.splitting import IMAGE, agree, opened_with_count, split_everywhere
from support.onnx.text import model, written

from convpress.refusal import Refusal
from convpress.report import Inspection
from worker.engine.calibration.inputs.model_inputs import image_inputs
from worker.engine.formats import open_model
from worker.engine.pipeline import compress, inspect
from worker.engine.request import Request

SHARED = "its weight is shared with nodes that use it differently"


# A size that no inference sees through, as in `profile/test_count.py`.
HIDDEN = (
    "s = Shape(x) f = Cast <to = 1> (s) q = Mul(f, f) "
    "r = Sqrt(q) k = Cast <to = 7> (r) h = Reshape(x, k)"
)


BRANCHES = """g (float[1, 8, 12, 12] x, int64 mode) => (float[1, c, m, n] y)
    <float[24, 8, 3, 3] w, float[16, 24, 3, 3] v, float[24] a, float[20, 8, 5, 5] u,
        float[16, 20, 3, 3] t> {
    one = Constant <value = int64 {1}> ()
    is_one = Equal(mode, one)
    y = If (is_one) <
        then_branch = one () => (float[1, c, m, n] p) {
            [first] d = Conv(x, w, a) e = Relu(d) [second] p = Conv <pads = [1, 1, 1, 1]> (e, v) },
        else_branch = other () => (float[1, c, m, n] q) {
            [third] d = Conv <pads = [1, 1, 1, 1]> (x, u) e = Relu(d)
            [fourth] q = Conv <pads = [1, 1, 1, 1]> (e, t) } > }"""


def test_layers_in_branches_are_replaced_in_all_of_them(tmp_path):
    path = written(tmp_path, BRANCHES)
    target = tmp_path / "after.onnx"
    assert split_everywhere(path, target) == ["first", "second", "third", "fourth"]
    agree(path, target, *({"x": IMAGE, "mode": np.array(mode)} for mode in (0, 1)))
    stored = {tensor.name for tensor in onnx.load(target).graph.initializer}
    assert stored.isdisjoint({"w", "v", "u", "t"})


def test_values_of_one_name_in_two_bodies_are_told_apart(tmp_path):
    """Both branches call their values d and e."""
    path = written(tmp_path, BRANCHES)
    opened, _ = opened_with_count(path)
    opened.save(tmp_path / "after.onnx")
    agree(
        path,
        tmp_path / "after.onnx",
        *({"x": IMAGE, "mode": np.array(mode)} for mode in (0, 1)),
    )


def test_every_execution_path_keeps_the_budget(tmp_path):
    path = written(tmp_path, BRANCHES)
    target = tmp_path / "after.onnx"
    report = tmp_path / "report.json"
    request = Request(
        str(path),
        "onnx",
        str(target),
        str(report),
        {"flops_budget": "0.5"},
        calibration="none",
    )
    compress(request, lambda *_: None)
    account = json.loads(report.read_text())
    _, before = opened_with_count(path)
    _, after = opened_with_count(target)
    one = 100 * 24 * 8 * 9 + 100 * 16 * 24 * 9
    other = 100 * 20 * 8 * 25 + 100 * 16 * 20 * 9
    assert before.execution_paths == (one, other)
    assert max(after.execution_paths) <= max(one, other) // 2
    assert account["before"]["courses"] == [one, other]
    assert account["after"]["courses"] == list(after.execution_paths)
    assert account["after"]["macs"] == max(after.execution_paths)
    assert {site["name"]: site["courses"] for site in account["sites"]} == {
        "first": [0], "second": [0], "third": [1], "fourth": [1],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "measured"),
    [
        (1, {"first", "second"}),
        pytest.param(7, {"third", "fourth"}, marks=pytest.mark.slow),
    ],
)
def test_calibration_follows_the_branch_that_is_taken_and_the_others_are_replaced_too(
    tmp_path, monkeypatch, mode, measured
):
    calibrate_little(monkeypatch)
    path = written(tmp_path, BRANCHES)
    target = tmp_path / "after.onnx"
    report = tmp_path / "report.json"
    shape = f"x=1x8x12x12,mode={mode}"
    request = Request(
        str(path),
        "onnx",
        str(target),
        str(report),
        {"flops_budget": "0.3"},
        input_shape=shape,
    )
    compress(request, lambda *_: None)
    account = json.loads(report.read_text())
    (note,) = [
        note
        for note in account["calibration"]["notes"]
        if "by their weights alone" in note
    ]
    assert {
        name for name in ("first", "second", "third", "fourth") if name not in note
    } == measured
    _, after = opened_with_count(target)
    assert (
        max(after.execution_paths)
        == account["after"]["macs"]
        <= 0.3 * account["before"]["macs"]
    )


def test_shapes_inside_a_branch_are_measured_where_inference_does_not_tell_them(
    tmp_path,
):
    text = f"""g (float[1, 8, 12, 12] x, bool c) => (float y) <float[4, 8, 3, 3] w> {{
        y = If (c) <
            then_branch = yes () => (float t) {{ {HIDDEN} t = Conv(h, w) }},
            else_branch = no () => (float e) {{ e = Identity(x) }} > }}"""
    _, count = opened_with_count(written(tmp_path, text))
    assert count.execution_paths == (100 * 4 * 72, 0)
    assert "Conv" not in count.uncounted


def test_a_weight_that_branches_use_in_two_ways_is_left(tmp_path):
    text = """g (float[1, 8, 12, 12] x, bool c) => (float y) <float[4, 8, 3, 3] w> {
        y = If (c) <
            then_branch = yes () => (float t) { t = Conv(x, w) },
            else_branch = no () => (float e) { e = Conv <strides = [2, 2]> (x, w) } > }"""
    _, count = opened_with_count(written(tmp_path, text))
    assert [(site.execution_paths, site.reason) for site in count.sites] == [
        ((100 * 288, 0), SHARED),
        ((0, 25 * 288), SHARED),
    ]


def test_a_layer_that_branches_call_on_two_sizes_is_counted_for_each_and_left(tmp_path):
    text = """g (float[1, 8, 12, 12] x, bool c) => (float y) <float[4, 8, 3, 3] w> {
        y = If (c) <
            then_branch = yes () => (float t) { t = Conv(x, w) },
            else_branch = no () => (float e) {
                s = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
                e = Conv(s, w) } > }"""
    _, count = opened_with_count(written(tmp_path, text))
    (site,) = count.sites
    assert site.execution_paths == (100 * 288, 16 * 288)
    assert site.reason == "the branches of an If call it on inputs of different sizes"
    assert count.execution_paths == site.execution_paths


def test_a_layer_that_one_path_calls_more_often_is_replaced_in_both(tmp_path):
    text = """g (float[1, 8, 12, 12] x, bool c) => (float[1, 8, 12, 12] y) <float[8, 8, 3, 3] w> {
        a = Conv <pads = [1, 1, 1, 1]> (x, w)
        y = If (c) <
            then_branch = yes () => (float[1, 8, 12, 12] t) { t = Conv <pads = [1, 1, 1, 1]>
                (a, w) },
            else_branch = no () => (float[1, 8, 12, 12] e) { e = Tanh(a) } > }"""
    path = written(tmp_path, text)
    target = tmp_path / "after.onnx"
    _, count = opened_with_count(path)
    assert [(site.execution_paths, site.reason) for site in count.sites] == [
        ((2 * 144 * 576, 144 * 576), None)
    ]
    assert split_everywhere(path, target) == ["w"]
    _, after = opened_with_count(target)
    assert after.execution_paths[0] == 2 * after.execution_paths[1]
    agree(
        path,
        target,
        *({"x": IMAGE, "c": np.array(condition)} for condition in (True, False)),
    )


def ifs(*conditions):
    """A model of Ifs behind one another, each on one of these inputs, that convolve or do not."""
    nodes = " ".join(
        f"""x{at + 1} = If ({condition}) <
            then_branch = yes{at} () => (float[1, 8, 12, 12] t{at}) {{
                t{at} = Conv <pads = [1, 1, 1, 1]> (x{at}, w{at}) }},
            else_branch = no{at} () => (float[1, 8, 12, 12] e{at}) {{ e{at} = Tanh(x{at}) }} >"""
        for at, condition in enumerate(conditions)
    )
    inputs = ", ".join(
        [
            "float[1, 8, 12, 12] x0",
            *(f"bool {condition}" for condition in dict.fromkeys(conditions)),
        ]
    )
    weights = ", ".join(f"float[8, 8, 3, 3] w{at}" for at in range(len(conditions)))
    return f"g ({inputs}) => (float[1, 8, 12, 12] x{len(conditions)}) <{weights}> {{ {nodes} }}"


def test_beyond_a_number_of_paths_the_ifs_that_are_left_are_counted_and_not_edited(
    tmp_path,
):
    path = written(tmp_path, ifs(*"abcdef"))
    target = tmp_path / "after.onnx"
    _, count = opened_with_count(path)
    assert count.macs == 6 * 144 * 576
    assert len(count.execution_paths) == 16
    assert {site.name for site in count.sites if site.reason is not None} == {
        "w4",
        "w5",
    }
    assert split_everywhere(path, target) == ["w0", "w1", "w2", "w3"]
    agree(
        path,
        target,
        *(
            {"x0": IMAGE} | dict.fromkeys("abcdef", np.array(condition))
            for condition in (True, False)
        ),
    )


def test_ifs_on_one_condition_are_taken_together(tmp_path):
    _, count = opened_with_count(written(tmp_path, ifs(*"aaaaaa")))
    assert count.execution_paths == (6 * 144 * 576, 0)
    assert [site.reason for site in count.sites] == [None] * 6


def test_very_many_ifs_are_looked_at_in_no_time(tmp_path):
    """A hostile model would have each of them inlined, one after another, in sixteen copies of
    itself.
    """
    path = written(tmp_path, ifs(*(f"c{at}" for at in range(8)), *["same"] * 42))
    started = time.process_time()
    _, count = opened_with_count(path)
    assert time.process_time() - started < 10
    assert count.macs == 50 * 144 * 576


@pytest.mark.parametrize("lacking", ["input", "output", "branches", "names"])
def test_an_if_that_is_none_is_refused_or_counted_but_nothing_else(tmp_path, lacking):
    proto = model(ifs("a"))
    (node,) = proto.graph.node
    if lacking in ("input", "output"):
        node.ClearField(lacking)
    elif lacking == "branches":
        node.ClearField("attribute")
    else:
        for attribute in node.attribute:
            attribute.name = "a_branch"
    try:
        _, count = opened_with_count(written(tmp_path, proto))
    except Refusal as refusal:
        assert refusal.code == "model_invalid"  # noqa: PT017 - counting it is right, too
    else:
        assert count.macs >= 0


def test_an_inspection_tells_the_execution_paths_and_never_0_for_what_it_does_not_know(
    tmp_path,
):
    def told(text):
        request = Request(
            str(written(tmp_path, text)), "onnx", "", str(tmp_path / "told.json")
        )
        inspect(request, lambda *_: None)
        return json.loads((tmp_path / "told.json").read_text())

    known = told(ifs("a"))
    assert known["macs"] == 144 * 576
    assert known["courses"] == [144 * 576, 0]
    assert known["missing"] is None
    assert Inspection.model_validate(known).courses == known["courses"]
    endless = told(LOOP.replace("Loop (n, , x)", "Loop (, , x)"))
    assert endless["macs"] is None
    assert endless["flops"] is None
    assert endless["courses"] == []
    assert "Conv 1" in endless["missing"]


def test_a_whole_number_is_bound_by_its_value(tmp_path):
    path = written(tmp_path, BRANCHES)
    opened = open_model("onnx", path)
    assert opened.bind({"mode": (7,)})["mode"] == (7,)
    assert opened.bind(None)["mode"] == ()


def test_a_state_is_no_batch_of_images(tmp_path):
    text = """g (float[1, 8, 12] x, float[2, 1, 8] state) => (float y) <float[4, 8, 3] w>
        { y = Conv(x, w) }"""
    opened = open_model("onnx", written(tmp_path, text))
    assert list(image_inputs(opened.inputs, opened.bind(None))) == ["x"]


LOOPED = (
    "g (float[1, 8, 8, 8] x, bool q) => (float[1, 8, 8, 8] y) "
    "<float[8, 8, 3, 3] w, float[8, 8, 1, 1] v> "
    "{ n = Constant <value = int64 {3}> () t = Constant <value = bool {1}> () "
    "y = Loop (n, t, x) <body = b (int64 i, bool c, float[1, 8, 8, 8] s) => "
    "(bool d, float[1, 8, 8, 8] r) { d = Identity(c) r = If (q) <"
    "then_branch = tb () => (float[1, 8, 8, 8] o) { o = Conv <pads = [1, 1, 1, 1]> (s, w) }, "
    "else_branch = eb () => (float[1, 8, 8, 8] p) { p = Conv(s, v) }> }> }"
)


def test_the_dearer_branch_of_an_if_inside_a_loop_counts_as_often_as_it_runs(tmp_path):
    opened = open_model("onnx", written(tmp_path, LOOPED))
    profile = opened.count(opened.bind(None))
    assert profile.macs == 3 * 8 * 8 * 9 * 64
    assert all(site.reason is not None for site in profile.sites)


def test_a_stored_condition_leads_along_one_branch(tmp_path):
    text = (
        "g (float[3, 8] x) => (float[3, 5] y) <float[8, 5] w, float[8, 5] v> "
        "{ q = Constant <value = bool {1}> () y = If (q) <"
        "then_branch = tb () => (float[3, 5] o) { o = MatMul(x, w) }, "
        "else_branch = eb () => (float[3, 5] p) { a = MatMul(x, v) b = MatMul(a, v) "
        "p = Add(a, b) }> }"
    )
    opened = open_model("onnx", written(tmp_path, text))
    profile = opened.count(opened.bind(None))
    assert (profile.macs, len(profile.sites)) == (3 * 8 * 5, 1)
