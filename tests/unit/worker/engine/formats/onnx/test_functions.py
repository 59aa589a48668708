"""Local functions: those that hold layers are inlined, all others stay."""

import onnx
from support.onnx.splitting import IMAGE, agree, opened_with_count, split_everywhere
from support.onnx.text import written

FUNCTIONS = """<ir_version: 8, opset_import: ["": 17, "acme": 1]>
    g (float[1, 8, 12, 12] x) => (float[1, 8, 12, 12] y) <float[8, 8, 3, 3] v, float[8, 8, 3, 3] w>
        {
        a = acme.twice(x, v, w)  b = acme.quiet(a)  y = acme.block(b, w) }
    <domain: "acme", opset_import: ["": 17]>
    block (x, w) => (y) { t = Conv <pads = [1, 1, 1, 1]> (x, w)  y = Relu(t) }
    <domain: "acme", opset_import: ["": 17, "acme": 1]>
    twice (x, v, w) => (y) { t = acme.block(x, v)  y = acme.block(t, w) }
    <domain: "acme", opset_import: ["": 17]>
    quiet (x) => (y) { y = Tanh(x) }"""


def test_functions_that_hold_layers_are_inlined_and_others_stay(tmp_path):
    path = written(tmp_path, FUNCTIONS)
    target = tmp_path / "after.onnx"
    _, count = opened_with_count(path)
    assert [(site.macs, site.reason) for site in count.sites] == [
        (144 * 576, None),
        (2 * 144 * 576, None),
    ]
    assert len(split_everywhere(path, target)) == 2
    agree(path, target, {"x": IMAGE})
    assert [function.name for function in onnx.load(target).functions] == ["quiet"]


def test_a_function_that_carries_weights_and_is_called_twice_is_counted_and_left(
    tmp_path,
):
    values = ", ".join(["0.01"] * 576)
    text = f"""<ir_version: 8, opset_import: ["": 17, "acme": 1]>
        g (float[1, 8, 12, 12] x) => (float[1, 8, 12, 12] y) {{ a = acme.block(x)
        y = acme.block(a) }}
        <domain: "acme", opset_import: ["": 17]>
        block (x) => (y) {{
            w = Constant <value = float[8, 8, 3, 3] {{{values}}}> ()  y = Conv <pads = [1, 1, 1, 1]>
            (x, w) }}"""
    _, count = opened_with_count(written(tmp_path, text))
    assert count.macs == 2 * 144 * 576
    assert {site.reason for site in count.sites} == {"it is inside a local function"}
