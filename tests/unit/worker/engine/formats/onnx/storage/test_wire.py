"""Messages rewritten byte by byte, against protocol buffers' own parser."""

import pytest
from onnx import ModelProto, TensorProto, helper
from support.onnx.text import model

from convpress.gate import protobuf
from worker.engine.formats.onnx.storage.wire import Extent, field_header, rewrite_model


def rewritten(proto, rewrite):
    content = proto.SerializeToString()
    segments = rewrite_model(memoryview(content), 0, len(content), rewrite)
    pieces = []
    for segment in segments:
        if isinstance(segment, Extent):
            segment = content[segment.offset : segment.offset + segment.length]
        pieces.append(segment)
    return ModelProto.FromString(b"".join(pieces))


def same(view, start, end):
    return [Extent(start, end - start)]


def renamed(view, start, end):
    tensor = TensorProto.FromString(bytes(view[start:end]))
    return [TensorProto(name=f"new {tensor.name}").SerializeToString()]


PROTO = model("g (float[2] x) => (float[2] y) <float[2] w> { y = Add(x, w) }")
PROTO.graph.node.extend(
    [
        helper.make_node("Constant", [], ["k"], value=TensorProto(name="k")),
        helper.make_node("Lookup", [], ["l"], value=TensorProto(name="l")),
        helper.make_node(
            "Constant", [], ["a"], domain="acme", value=TensorProto(name="a")
        ),
    ]
)


def test_a_copy_of_every_tensor_is_the_model():
    assert rewritten(PROTO, same) == PROTO


def test_tensors_of_the_main_graph_alone_are_rewritten():
    copy = rewritten(PROTO, renamed)
    assert [tensor.name for tensor in copy.graph.initializer] == ["new w"]
    values = [node.attribute[0].t.name for node in copy.graph.node[1:]]
    assert values == ["new k", "l", "a"]
    assert copy.graph.node[0] == PROTO.graph.node[0]


@pytest.mark.parametrize("length", [0, 127, 128, 300, 2**31])
def test_a_header_is_read_back(length):
    header = field_header(9, length)
    tag, size = header[0], header[1:]
    assert (tag >> 3, tag & 7) == (9, protobuf.DELIMITED)
    assert size == protobuf.write_varint(length)
