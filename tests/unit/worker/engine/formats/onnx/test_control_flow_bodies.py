"""Layers in the bodies of Loop and Scan: counted as often as they run, and replaced."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.onnx.bodies import LOOP, SCAN, SHAPED
from support.onnx.splitting import IMAGE, agree, opened_with_count, split_everywhere
from support.onnx.text import model, written

from worker.engine.formats import load_runner
from worker.engine.model import Call


@pytest.mark.parametrize(
    ("text", "times", "inputs"),
    [
        (LOOP, 3, {"x": IMAGE}),
        (SCAN, 5, {"x": IMAGE, "xs": np.stack([IMAGE] * 5)}),
        (SHAPED, 5, {"x": IMAGE[0, 0, 0, :1], "xs": np.concatenate([IMAGE] * 5)}),
    ],
    ids=["Loop", "Scan", "axes that are kept outside"],
)
def test_a_layer_in_a_body_counts_as_often_as_that_runs_and_is_replaced(
    tmp_path, text, times, inputs
):
    path = written(tmp_path, text)
    target = tmp_path / "after.onnx"
    _, count = opened_with_count(path)
    (site,) = count.sites
    assert site.calls == (Call(1, (12, 12), times),)
    assert site.macs == times * 144 * 576
    assert split_everywhere(path, target) == ["inside"]
    agree(path, target, inputs)


def test_what_a_body_stores_itself_goes_with_the_layer(tmp_path):
    stored = (
        f"w = Constant <value = float[8, 8, 1, 1] {{{', '.join(['0.1'] * 64)}}}> ()"
    )
    text = LOOP.replace("<float[8, 8, 3, 3] w, float[8] a>", "").replace(
        "on =", f"{stored} on ="
    )
    text = text.replace("<pads = [1, 1, 1, 1]> (v, w, a)", "(v, w)")
    path = written(tmp_path, text)
    target = tmp_path / "after.onnx"
    assert split_everywhere(path, target) == ["inside"]
    agree(path, target, {"x": IMAGE})
    (loop,) = [node for node in onnx.load(target).graph.node if node.op_type == "Loop"]
    assert "Constant" not in [node.op_type for node in loop.attribute[0].g.node]


def test_weights_that_bodies_store_are_kept_in_a_file_of_several_links(tmp_path):
    """As the service's own files are, of which ONNX Runtime takes no external data for a body."""
    stored = helper.make_tensor(
        "w",
        TensorProto.FLOAT,
        [8, 8, 3, 3],
        np.full(576, 0.1, np.float32).tobytes(),
        raw=True,
    )
    proto = model(
        LOOP.replace("<float[8, 8, 3, 3] w, float[8] a>", "").replace(
            "(v, w, a)", "(v, w)"
        )
    )
    (body,) = [
        attribute.g
        for node in proto.graph.node
        for attribute in node.attribute
        if attribute.HasField("g")
    ]
    body.initializer.append(stored)
    path = written(tmp_path, proto)
    target = tmp_path / "after.onnx"
    (tmp_path / "link.onnx").hardlink_to(path)
    assert load_runner("onnx", path)({"x": IMAGE})["y"].shape == IMAGE.shape
    opened, _ = opened_with_count(path)
    assert opened.parameters == 576
    assert split_everywhere(path, target) == ["inside"]
    agree(path, target, {"x": IMAGE})
