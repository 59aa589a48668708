"""Hostile ONNX networks that are plain as files: odd references, names, numbers and amounts."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import onnx
from bundle_files import WEIGHTS, model, zipped
from onnx import TensorProto, helper
from onnx_files import onnx_model

File = tuple[str, bytes | Callable[[], bytes], bool]


def references() -> Iterator[File]:
    """Bundles whose model names the file of its weights in a strange way."""
    for what, entries in {
        "at-an-offset-of-other-digits": {"offset": "\u0660"},
        "at-an-offset-in-hexadecimal": {"offset": "0x0"},
        "at-an-offset-of-endless-digits": {"offset": "0" * 9000},
        "of-a-length-below-zero": {"length": "-144"},
        "of-no-length": {"length": ""},
        "in-a-file-of-full-width": {"location": "\uff57eights"},
        "in-a-file-with-escapes": {"location": "%77eights"},
        "in-an-address": {"location": "file:///etc/passwd"},
        "in-a-share": {"location": "//host/share/weights"},
        "in-a-name-that-turns-around": {"location": "\u202eweights"},
        "in-a-home": {"location": "~/weights"},
        "in-a-variable": {"location": "$HOME/weights"},
    }.items():
        bundle = zipped(("net.onnx", model(**entries)), ("weights", WEIGHTS))
        yield f"weights-{what}", bundle, True


def networks() -> Iterator[File]:
    """Networks that no parser refuses, and that cannot or should not be run."""
    for what, nodes in {
        "pads-without-end-takes-all-memory": [
            _constant("p", value_ints=[0, 0, 1 << 20, 1 << 20, 0, 0, 1 << 20, 1 << 20]),
            helper.make_node("Pad", ["c", "p"], ["y"]),
        ],
        "counts-without-end-takes-all-memory": [
            _constant("a", value_float=0.0),
            _constant("b", value_float=1e12),
            _constant("d", value_float=1e-3),
            helper.make_node("Range", ["a", "b", "d"], ["r"]),
            helper.make_node("ReduceSum", ["r"], ["s"], keepdims=0),
            helper.make_node("Add", ["c", "s"], ["y"]),
        ],
        "enlarges-by-nan": [
            _constant("s", value_floats=[1.0, 1.0, float("nan"), 1.0]),
            helper.make_node("Resize", ["c", "", "s"], ["y"]),
        ],
        "reads-the-cache-of-a-device": [
            helper.make_node(
                "EPContext",
                ["c"],
                ["y"],
                domain="com.microsoft",
                ep_cache_context="/etc/passwd",
                embed_mode=0,
            )
        ],
        "matches-for-ever": [
            _constant("t", value_string="a" * 10_000 + "!"),
            helper.make_node("RegexFullMatch", ["t"], ["m"], pattern="(a+)+$"),
            helper.make_node("Cast", ["m"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["c", "f"], ["y"]),
        ],
        "doubles-and-takes-all-memory": _doubled("c", 40),
    }.items():
        yield f"graph-that-{what}", onnx_model(nodes).SerializeToString(), False
    for what, attributes in {
        "groups-of-zero": {"group": 0},
        "groups-beyond": {"group": 1 << 62},
        "strides-of-zero": {"strides": [0, 0]},
        "dilations-beyond": {"dilations": [1 << 61, 1 << 61]},
        "padding-that-overflows": {"pads": [1 << 62, 0, 0, 0]},
        "padding-that-takes-all-memory": {"pads": [40_000] * 4},
    }.items():
        yield f"convolution-with-{what}", _convolution(**attributes), False
    for what, name in {
        "a-script": "<script>alert(1)</script>",
        "a-formula": "=cmd|' /C calc'!A0",
        "controls": "\u202econv\x1b[2J\x07",
    }.items():
        proto = onnx_model()
        proto.graph.node[0].name = name
        yield f"layer-called-by-{what}", proto.SerializeToString(), False
    sizes = ["__import__('os').system('true')", 1, "9**9**9**9", 8]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)
    proto = onnx_model()
    proto.graph.input[0].CopyFrom(value)
    yield "input-of-a-size-that-is-python", proto.SerializeToString(), False


def _constant(name: str, **value: object) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], **value)


def _doubled(name: str, times: int) -> list[onnx.NodeProto]:
    """Nodes that join a tensor with itself, again and again."""
    names = [name, *(f"k{number}" for number in range(times - 1)), "y"]
    return [
        helper.make_node("Concat", [before, before], [after], axis=1)
        for before, after in pairwise(names)
    ]


def _convolution(**attributes: object) -> bytes:
    """A model of two convolutions, of which the second has these attributes."""
    proto = onnx_model([helper.make_node("Conv", ["c", "v"], ["y"], **attributes)])
    weight = helper.make_tensor("v", TensorProto.FLOAT, [4, 4, 3, 3], [0.1] * 144)
    proto.graph.initializer.append(weight)
    return proto.SerializeToString()
