"""The domain `ai.onnx`, written out, is the empty one."""

import pytest
from support.onnx.canonical import rewritten
from support.onnx.text import model

BODY = (
    "g (float[1, 8, 6, 6] x) => (float[1, 8, 4, 4] y) <float[8, 8, 3, 3] w> "
    "{{ h = {0}Relu(x) y = {0}Conv(h, w) }}"
)


@pytest.mark.parametrize(
    "imports",
    ['"": 17', '"ai.onnx": 17', '"": 13, "ai.onnx": 17', '"ai.onnx": 13, "": 17'],
)
@pytest.mark.parametrize("domain", ["", "ai.onnx."])
def test_both_names_are_one(tmp_path, imports, domain):
    proto = model(f"<ir_version: 8, opset_import: [{imports}]> {BODY.format('')}")
    for node in proto.graph.node:
        node.domain = domain.rstrip(".")
    [site], artifact = rewritten(tmp_path, proto)
    assert (site.op, site.reason) == ("Conv", None)
    assert [(entry.domain, entry.version) for entry in artifact.opset_import] == [
        ("", 17)
    ]
    assert {node.domain for node in artifact.graph.node} == {""}
