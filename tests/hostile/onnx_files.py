"""Hostile ONNX files."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import onnx
from onnx import TensorProto, helper
from support.torchscript.tampering import archive, plain

from convpress.gate.protobuf import write_varint


def message(number: int, payload: bytes) -> bytes:
    return write_varint(number << 3 | 2) + write_varint(len(payload)) + payload


def onnx_model(
    nodes: list[onnx.NodeProto] | None = None, **changed: object
) -> onnx.ModelProto:
    """A model of one convolution and what else is asked for."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 1, 3, 3], [0.5] * 36)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    conv = helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [conv, *(nodes or [helper.make_node("Relu", ["c"], ["y"])])],
        "g",
        [x],
        [y],
        [weight],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("f", 1)],
        **changed,
    )


def onnx_files(
    outside: Path,
) -> Iterator[tuple[str, bytes | Callable[[], bytes], bool]]:
    good = onnx_model().SerializeToString()

    def external(**entries: str) -> bytes:
        model = onnx_model()
        weight = model.graph.initializer[0]
        weight.ClearField("float_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            weight.external_data.add(key=key, value=value)
        return model.SerializeToString()

    for what, location in {
        "an-absolute-path": str(outside / "secret"),
        "a-path-upwards": "../../../../../../../../etc/passwd",
        "a-path-through-a-link": "link/secret",
        "a-device": "/dev/zero",
        "the-process-itself": "/proc/self/environ",
        "another-upload": "model.onnx",
        "a-drive": "C:secret",
        "a-stream": "model.onnx\0secret",
        "nowhere": "",
        "itself": ".",
    }.items():
        yield f"weights-in-{what}", external(location=location), True
    yield (
        "weights-at-a-negative-offset",
        external(location="weights", offset="-4096"),
        True,
    )
    yield "weights-of-no-number", external(location="weights", offset="1e9"), True
    yield (
        "weights-with-another-key",
        external(location="weights", basepath="/etc"),
        True,
    )
    model = onnx_model()
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    for location in ("weights", str(outside / "secret")):
        model.graph.initializer[0].external_data.add(key="location", value=location)
    yield "weights-in-two-places", model.SerializeToString(), True

    def tensor(
        dims: list[int], kind: int = TensorProto.FLOAT, raw: bytes = b"1234"
    ) -> bytes:
        model = onnx_model()
        weight = model.graph.initializer[0]
        weight.CopyFrom(TensorProto(name="w", dims=dims, data_type=kind, raw_data=raw))
        return model.SerializeToString()

    yield "tensor-of-giant-sizes", tensor([1 << 20, 1 << 20]), True
    yield "tensor-of-overflowing-sizes", tensor([1 << 32, 1 << 32, 1]), True
    yield "tensor-of-negative-sizes", tensor([-1, -1]), True
    yield "tensor-of-countless-sizes", tensor([1] * 5000), True
    yield "tensor-with-too-little-data", tensor([4, 1, 3, 3]), True
    yield "tensor-of-no-type", tensor([1], 99), True
    yield "tensor-of-undefined-type", tensor([1], 0), True
    raw = b"".join(message(9, bytes(4)) for _ in range(2))
    weight = b"\x08\x01\x10\x01" + raw + message(8, b"w")
    yield "tensor-with-two-contents", good + message(7, message(5, weight)), True
    graph = onnx_model().graph.SerializeToString()
    yield "graph-given-twice", good + message(7, graph), True
    for what, shape in {
        "giant": [1, 1, 1 << 30, 1 << 30],
        "giant-batch": [1 << 40, 1, 8, 8],
    }.items():
        model = onnx_model()
        model.graph.input[0].CopyFrom(
            helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        )
        yield f"input-of-{what}-size", model.SerializeToString(), True
    cycle = [
        helper.make_node("Add", ["c", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
    ]
    yield (
        "nodes-in-a-circle",
        onnx_model(
            [*cycle, helper.make_node("Relu", ["b"], ["y"])]
        ).SerializeToString(),
        True,
    )
    yield (
        "node-that-needs-itself",
        onnx_model([helper.make_node("Relu", ["y"], ["y"])]).SerializeToString(),
        True,
    )
    yield "types-nested-deeply", good[:-2] + _nested_type(2000), True
    yield "graphs-nested-deeply", _nested_graphs(90), True
    yield "functions-nested-deeply", _functions(1000, 1), True
    yield "functions-that-multiply", _functions(40, 3), True
    yield "function-that-calls-itself", _functions(3, 1, closing=True), True
    yield "functions-of-one-name", _functions(2, 1, names=["a", "a"]), True
    many = message(1, message(4, b"Relu")) * 110_000
    yield "nodes-without-number", b"\x08\x08" + message(7, many), True
    yield (
        "fields-without-number",
        b"\x08\x08" + message(7, message(1, message(1, b"") * 1_100_000)),
        True,
    )
    yield (
        "tensors-without-number",
        b"\x08\x08" + message(7, message(5, b"\x08\x00\x10\x01") * 110_000),
        True,
    )
    yield "message-cut-short", good[: len(good) // 2], True
    yield (
        "length-that-lies",
        b"\x08\x08" + b"\x3a" + write_varint(1 << 40) + graph,
        True,
    )
    yield "number-without-end", b"\x08" + b"\xff" * 20 + message(7, graph), True
    yield "groups-of-old", b"\x08\x08\x0b\x0c" + message(7, graph), True
    yield "field-number-zero", b"\x08\x08\x00\x00" + message(7, graph), True
    yield "archive-in-disguise", good + archive(plain()), True
    yield (
        "operator-of-others",
        onnx_model(
            [helper.make_node("Run", ["c"], ["y"], domain="evil")]
        ).SerializeToString(),
        False,
    )
    name = onnx_model().SerializeToString().replace(b"Relu", b"Re\xffu")
    yield "name-that-is-no-text", name, False
    for what, nodes in {
        "fills-all-memory": [
            helper.make_node("Constant", [], ["s"], value_ints=[1 << 20, 1 << 20, 16]),
            helper.make_node("ConstantOfShape", ["s"], ["z"]),
            helper.make_node("ReduceSum", ["z"], ["r"], keepdims=0),
            helper.make_node("Add", ["c", "r"], ["y"]),
        ],
        "repeats-without-end": [
            helper.make_node(
                "Constant", [], ["n"], value_ints=[1 << 14, 1 << 14, 1 << 7, 1]
            ),
            helper.make_node("Tile", ["c", "n"], ["y"]),
        ],
        "loops-for-ever": [_loop()],
    }.items():
        yield f"network-that-{what}", onnx_model(nodes).SerializeToString(), False
    pads = message(
        5, message(1, b"pads") + message(8, b"\x01" * 900_000) + b"\xa0\x01\x07"
    )
    yield "attribute-of-countless-numbers", _with_attribute(pads), True
    texts = message(
        5, message(1, b"pads") + message(9, b"a") * 300_000 + b"\xa0\x01\x08"
    )
    yield "attribute-of-countless-texts", _with_attribute(texts), True
    conv = helper.make_node("Conv", ["c", "w"], ["y"], pads=[1] * 60_000)
    yield (
        "convolution-with-giant-padding",
        onnx_model([conv]).SerializeToString(),
        False,
    )
    name = "n" * 5_000_000
    yield (
        "name-of-giant-length",
        onnx_model(
            [
                helper.make_node("Relu", ["c"], [name]),
                helper.make_node("Relu", [name], ["y"]),
            ]
        ).SerializeToString(),
        True,
    )
    yield "node-of-countless-inputs", _many_inputs(200_000), False
    yield (
        "graphs-that-read-countless-names",
        partial(_many_outer_names, 60, 100_000),
        True,
    )
    yield (
        "tensor-of-countless-sizes-in-fields",
        b"\x08\x08" + message(7, message(5, message(1, b"\x01" * 60) * 300_000)),
        True,
    )
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("i", TensorProto.INT64, [1], [0]),
        [1 << 40, 1 << 20],
    )
    model = onnx_model()
    model.graph.sparse_initializer.append(sparse)
    yield "sparse-tensor-of-giant-size", model.SerializeToString(), True
    model = onnx_model()
    model.training_info.add().algorithm.CopyFrom(
        helper.make_graph([helper.make_node("Relu", ["a"], ["a"])], "t", [], [])
    )
    yield "training-in-a-circle", model.SerializeToString(), True


def _loop() -> onnx.NodeProto:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["go"]),
            helper.make_node("Relu", ["v"], ["w2"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w2", TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["", "", "c"], ["y"], body=body)


def _with_attribute(attribute: bytes) -> bytes:
    """A model of one convolution with another attribute, which is so on the wire."""
    node = (
        message(1, b"x")
        + message(1, b"w")
        + message(2, b"y")
        + message(4, b"Conv")
        + attribute
    )
    graph = onnx_model().graph
    del graph.node[:]
    opset = onnx_model().opset_import[0].SerializeToString()
    return (
        b"\x08\x08"
        + message(7, graph.SerializeToString() + message(1, node))
        + message(8, opset)
    )


def _many_inputs(count: int) -> bytes:
    return onnx_model(
        [helper.make_node("Sum", ["c"] * count, ["y"])]
    ).SerializeToString()


def _many_outer_names(depth: int, count: int) -> bytes:
    """Graphs in graphs, of which the innermost reads names that none of them defines."""
    node = message(4, b"Sum") + b"".join(
        message(1, b"%d" % number) for number in range(count)
    )
    graph = message(1, node)
    for _ in range(depth):
        attribute = message(5, message(1, b"then_branch") + message(6, graph))
        graph = message(1, message(4, b"If") + attribute)
    return b"\x08\x08" + message(7, graph)


def _nested_type(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = message(4, message(1, inner))
    graph = message(11, message(1, b"x") + message(2, inner))
    return message(20, message(1, graph))


def _nested_graphs(depth: int) -> bytes:
    graph = b""
    for _ in range(depth):
        graph = message(
            1,
            message(4, b"If")
            + message(5, message(1, b"then_branch") + message(6, graph)),
        )
    return b"\x08\x08" + message(7, graph)


def _functions(
    count: int, calls: int, *, closing: bool = False, names: list[str] | None = None
) -> bytes:
    """A model of functions that each call the next, `calls` times; the last calls the first where
    `closing`.
    """
    model = onnx_model([helper.make_node("f0", ["c"], ["y"], domain="f")], ir_version=8)
    for number in range(count):
        following = f"f{number + 1}" if number + 1 < count else "f0"
        end = number + 1 == count and not closing
        nodes = [
            helper.make_node(
                "Relu" if end else following,
                ["a"],
                [f"b{call}"],
                domain="" if end else "f",
            )
            for call in range(calls)
        ]
        name = names[number] if names else f"f{number}"
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
        model.functions.append(
            helper.make_function("f", name, ["a"], ["b0"], nodes, opsets)
        )
    return model.SerializeToString()
