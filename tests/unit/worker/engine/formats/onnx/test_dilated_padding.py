"""Dilated convolutions with SAME padding run with explicit pads, in original and artifact."""

import pytest
import torch
from onnx.numpy_helper import to_array
from support.onnx.canonical import rewritten
from support.onnx.text import model, written

from worker.engine.formats import load_runner


def dilated(rule, kernel, attributes=""):
    return model(
        f"g (float[1, 4, 9, 9] x) => (float[1, 8, 9, 9] y) <float[8, 4, {kernel}, {kernel}] w> "
        f'{{ y = Conv <auto_pad = "{rule}", dilations = [2, 2] {attributes}> (x, w) }}'
    )


@pytest.mark.parametrize("rule", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("kernel", [2, 3])
def test_it_runs_and_is_replaced(tmp_path, rule, kernel):
    [site], artifact = rewritten(tmp_path, dilated(rule, kernel))
    assert (site.reason, site.macs) == (None, 81 * 8 * 4 * kernel**2)
    assert [node.op_type for node in artifact.graph.node] == ["Conv", "Conv"]


def test_the_pads_are_those_that_torch_adds(tmp_path):
    proto = dilated("SAME_UPPER", 2)
    [weight] = [torch.tensor(w.copy()) for w in map(to_array, proto.graph.initializer)]
    x = torch.randn(1, 4, 9, 9)
    run = load_runner("onnx", written(tmp_path, proto))
    expected = torch.nn.functional.conv2d(x, weight, padding="same", dilation=2)
    torch.testing.assert_close(torch.tensor(run({"x": x.numpy()})["y"]), expected)
