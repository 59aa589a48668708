"""Inputs without sizes are found in the header, by the same rules as the engine's."""

import onnx
import pytest
from onnx import TensorProto, helper

from convpress.gate import protobuf
from convpress.gate.onnx import open_inputs
from convpress.gate.required_shape import require_shape
from convpress.refusal import Code, Refusal
from worker.engine.formats.input_shapes import bind
from worker.engine.model import TensorSpec

FLOAT = TensorProto.FLOAT


def file_of(folder, inputs, weights=()):
    values = [
        helper.make_tensor_value_info(name, FLOAT, shape)
        for name, shape in inputs.items()
    ]
    tensors = [helper.make_tensor(name, FLOAT, [1], [0.0]) for name in weights]
    node = helper.make_node("Identity", [next(iter(inputs))], ["y"])
    output = helper.make_tensor_value_info("y", FLOAT, None)
    graph = helper.make_graph([node], "g", values, [output], tensors)
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph), path)
    return path


SHAPES = [
    ({"x": (1, 3, 8, 8)}, None),
    ({"x": ("batch", 3, 8, 8)}, None),
    ({"x": (None, 3, 8, 8)}, None),
    ({"x": (0, 3, 8, 8)}, None),
    ({"x": ("batch", 3, "height", None)}, "1x3xheightx?"),
    ({"x": ("n", 3, -1, 0)}, "1x3x?x?"),
    ({"x": ("n", 3, "n", 8)}, None),
    ({"x": ("n", 3, "?", 8)}, "1x3x?x8"),
    ({"x": ("n", 4), "y": (2, "n"), "z": (1, "m")}, "z=1xm"),
    ({"x": ()}, None),
]


@pytest.mark.parametrize(("shapes", "expected"), SHAPES)
def test_sizes_are_missing_where_the_engine_would_miss_them(tmp_path, shapes, expected):
    assert open_inputs.open_shape(file_of(tmp_path, shapes)) == expected
    specs = [
        TensorSpec(name, "float32", tuple(_as_read(size) for size in shape))
        for name, shape in shapes.items()
    ]
    if expected is None:
        bind(specs, None)
        return
    with pytest.raises(Refusal) as refused:
        bind(specs, None)
    assert refused.value.code == Code.INPUT_SHAPE_REQUIRED


def _as_read(size):
    if isinstance(size, str):
        return size if size.isalpha() else None
    return size if size and size > 0 else None


def test_weights_among_the_inputs_need_no_shape(tmp_path):
    path = file_of(tmp_path, {"x": (1, 3), "w": ("a", "b")}, weights=["w"])
    assert open_inputs.open_shape(path) is None


def test_an_input_without_any_shape_is_left_to_the_engine(tmp_path):
    assert open_inputs.open_shape(file_of(tmp_path, {"x": None})) is None


def test_a_header_beyond_the_bounds_is_left_to_the_engine(tmp_path, monkeypatch):
    path = file_of(tmp_path, {"x": ("n", "m")})
    monkeypatch.setattr(open_inputs, "_MOST_FIELDS", 5)
    assert open_inputs.open_shape(path) is None


@pytest.mark.parametrize(
    "content", [b"", b"\x08", b"\x3a\x00", b"\x3a\x02\x5a\x00", b"PK\x03\x04"]
)
def test_what_is_no_whole_model_says_nothing(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert open_inputs.open_shape(path) is None


def test_every_cut_and_every_changed_byte_of_a_model_is_survived(tmp_path):
    path = file_of(tmp_path, {"x": ("n", "m")}, weights=["w"])
    whole = path.read_bytes()
    for at in range(len(whole)):
        for content in (whole[:at], whole[:at] + b"\xff" + whole[at + 1 :]):
            path.write_bytes(content)
            result = open_inputs.open_shape(path)
            assert result is None or isinstance(result, str)


def test_two_graphs_are_left_to_the_engine(tmp_path):
    """Parsers would merge them."""
    path = file_of(tmp_path, {"x": ("n", "m")})
    graph = onnx.load(path).graph.SerializeToString()
    field = bytes([7 << 3 | 2]) + protobuf.write_varint(len(graph)) + graph
    path.write_bytes(path.read_bytes() + field)
    assert open_inputs.open_shape(path) is None


def test_the_refusal_names_the_open_sizes_and_a_stated_shape_is_enough(tmp_path):
    path = file_of(tmp_path, {"x": ("n", 3, "h", "w")})
    with pytest.raises(Refusal) as refused:
        require_shape("onnx", None, path)
    assert refused.value.code == Code.INPUT_SHAPE_REQUIRED
    assert refused.value.expected == "1x3xhxw with numbers for all sizes"
    require_shape("onnx", "1x3x8x8", path)
    require_shape("onnx", None)
