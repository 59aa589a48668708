"""What an ONNX model says of itself when it is opened, and which models are not opened at all."""

import subprocess
import sys

import onnx
import pytest
from digits import MODELS
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.onnx.text import model, written

from convpress.refusal import Refusal
from worker.engine.formats import open_model
from worker.engine.model import Model, TensorSpec
from worker.engine.request import Request

CONVOLUTION = """g (float[batch, 3, height, 8] x) => (float[batch, 4, h, 6] y) <float[4, 3, 3, 3] w>
    {
    b = Constant <value = float[4] {1, 2, 3, 4}> ()  k = Constant <value = int64[2] {1, 2}> ()
    y = Conv(x, w, b) }"""


def refused(path):
    with pytest.raises(Refusal) as caught:
        open_model("onnx", path)
    assert caught.value.field == "model"
    return caught.value


def test_inputs_and_outputs_are_told_in_order(tmp_path):
    proto = model(
        "g (float16[n, 3] a, int64 b, float[2] c) => (bool[n] z, float y) { y = Foo(a, b) z = "
        "Bar(c) }"
    )
    proto.graph.input[2].type.tensor_type.ClearField("shape")
    opened: Model = open_model("onnx", written(tmp_path, proto))
    assert opened.inputs == (
        TensorSpec("a", "float16", ("n", 3)),
        TensorSpec("b", "int64", ()),
        TensorSpec("c", "float32", None),
    )
    assert opened.outputs == (
        TensorSpec("z", "bool", ("n",)),
        TensorSpec("y", "float32", ()),
    )


@pytest.mark.parametrize(
    "size", [{"dim_param": "?"}, {"dim_value": -1}, {"dim_value": 0}, {}]
)
def test_sizes_that_say_nothing_are_unknown(tmp_path, size):
    proto = model(CONVOLUTION)
    proto.graph.input[0].type.tensor_type.shape.dim[2].CopyFrom(
        onnx.TensorShapeProto.Dimension(**size)
    )
    assert open_model("onnx", written(tmp_path, proto)).inputs[0].shape == (
        "batch",
        3,
        None,
        8,
    )


def test_parameters_are_floats_wherever_they_are_stored(tmp_path):
    assert open_model("onnx", written(tmp_path, CONVOLUTION)).parameters == 4 * 27 + 4


def test_parameters_are_those_of_constants_without_a_tensor_too(tmp_path):
    text = """g (float[1, 3] x) => (float[1] y) {
        k = Constant <value_floats = [1.0, 2.0, 3.0]> ()
        s = Constant <value_float = 0.5> ()
        i = Constant <value_ints = [1]> ()
        a = MatMul(x, k)
        b = Mul(a, s)
        y = Reshape(b, i) }"""
    assert open_model("onnx", written(tmp_path, text)).parameters == 4


def test_the_batch_is_one_and_the_rest_is_asked_for(tmp_path):
    opened = open_model("onnx", written(tmp_path, CONVOLUTION))
    assert opened.bind({"": (1, 3, 9, 8)}) == {"x": (1, 3, 9, 8)}
    with pytest.raises(Refusal, match="axis 2") as caught:
        opened.bind(None)
    assert caught.value.code == "input_shape_required"
    assert caught.value.expected == "1x3xheightx8"


@pytest.mark.parametrize(
    ("ir_version", "opset", "got"),
    [
        (1, None, "IR version 1, opset missing"),
        (2, 7, "IR version 2, opset 7"),
        (8, 5, "IR version 8, opset 5"),
        (8, None, "IR version 8, opset missing"),
        (
            8,
            onnx.defs.onnx_opset_version() + 1,
            f"opset {onnx.defs.onnx_opset_version() + 1}",
        ),
        (onnx.IR_VERSION + 1, 17, f"IR version {onnx.IR_VERSION + 1}"),
    ],
)
def test_versions_that_are_not_known_are_refused_and_named(
    tmp_path, ir_version, opset, got
):
    proto = model(CONVOLUTION)
    proto.ir_version = ir_version
    proto.ClearField("opset_import")
    if opset is not None:
        proto.opset_import.add(domain="", version=opset)
    proto.opset_import.add(domain="ai.onnx.ml", version=2)
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    refusal = refused(path)
    assert refusal.code == "model_unsupported"
    assert got in refusal.got


def test_inputs_that_are_no_tensors_are_refused(tmp_path):
    proto = model(
        "g (seq(float[2]) x) => (float[2] y) { z = Constant <value = int64 {0}> () y = "
        "SequenceAt(x, z) }"
    )
    assert refused(written(tmp_path, proto)).code == "model_unsupported"


def test_inputs_without_a_type_are_refused(tmp_path):
    proto = model("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    proto.graph.input[0].ClearField("type")
    assert refused(written(tmp_path, proto)).code == "model_invalid"


def test_a_value_that_two_nodes_give_is_refused(tmp_path):
    twice = "g (float[2] x) => (float[2] y) { y = Relu(x) y = Neg(x) }"
    assert refused(written(tmp_path, twice)).code == "model_invalid"


def test_names_that_are_no_text_are_refused(tmp_path):
    path = written(tmp_path, CONVOLUTION)
    path.write_bytes(path.read_bytes().replace(b"height", b"h\xffight"))
    assert refused(path).code == "model_invalid"


def test_a_truncated_file_is_refused(tmp_path):
    path = written(tmp_path, CONVOLUTION)
    path.write_bytes(path.read_bytes()[:-20])
    assert refused(path).code == "model_invalid"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


HOSTILE = model("""g (float[1, 3, 8, 8] x, bool c) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w> {
    b = Constant <value = float[4] {1, 2, 3, 4}> ()  v = Identity(w)  t = Conv <strides = [1, 1]>
    (x, v, b)
    n = Constant <value = int64[4] {4, 3, -1, 0}> ()  r = Transpose <perm = [0, 1, 3, 2]> (w)
    s = Reshape(r, n)
    u = Cast <to = 1> (s)  z = Conv(x, u)
    y = If (c) < then_branch = yes () => (float p) { p = Conv(x, w) }, else_branch = no () =>
        (float q) { q = Neg(t) } >
    }""").SerializeToString()


@given(at=st.integers(0, len(HOSTILE) - 1), byte=st.integers(0, 255))
@example(at=236, byte=106)  # an operator without its input
@settings(max_examples=200, deadline=None)
def test_a_damaged_model_is_counted_or_refused_but_nothing_else(folder, at, byte):
    path = folder / "model.onnx"
    path.write_bytes(HOSTILE[:at] + bytes([byte]) + HOSTILE[at + 1 :])
    try:
        opened = open_model("onnx", path)
        count = opened.count(opened.bind(None))
        for site in count.sites:
            if site.reason is None:
                opened.replace(site, [opened.layer(site)])
        opened.save(folder / "after.onnx")
    except Refusal as refusal:
        assert refusal.code.startswith(("model_", "input_shape_"))  # noqa: PT017 - counting it is right, too
    else:
        assert count.macs >= 0


def test_torch_is_not_loaded_where_nothing_is_calibrated(tmp_path):
    files = [
        str(MODELS / "plain.onnx"),
        "onnx",
        str(tmp_path / "out.onnx"),
        str(tmp_path / "report.json"),
    ]
    code = (
        "import sys\nfrom worker.engine.__main__ import main\nmain(sys.argv[1:])\n"
        "print('torch' in sys.modules, file=sys.stdout)"
    )
    request = Request(
        *files, budgets={"flops_budget": "0.5"}, calibration="none"
    ).to_json()
    done = subprocess.run(
        [sys.executable, "-c", code, request],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"succeeded"' in done.stdout
    assert done.stderr.strip() == "False"
