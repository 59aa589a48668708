"""The count of an ONNX model: against other counters, with measured shapes, and refusals."""

import warnings

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from support.onnx.counting import HIDDEN, counted, macs_of
from support.onnx.text import model, written
from torch.utils.flop_counter import FlopCounterMode

from convpress.refusal import Refusal
from worker.engine.formats import open_model
from worker.engine.model import Call


class Assorted(torch.nn.Module):
    """One of everything that has multiply-accumulates."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.grow = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 8, (3, 1), padding=(2, 0), groups=4),
        )
        self.up = nn.ConvTranspose2d(8, 6, 3, 2, 1, 1, groups=2, dilation=(1, 2))
        self.line = nn.Conv1d(6, 4, 5, dilation=2)
        self.last = nn.Linear(4, 10)

    def forward(self, x):
        x = self.line(self.up(self.grow(x)).flatten(2))
        attention = (x.transpose(1, 2) @ x).softmax(-1)
        return self.last((attention @ x.transpose(1, 2)).mean(1))


def test_torch_and_onnxsim_count_the_same(tmp_path):
    # not above: it takes a second to import, in every process that collects tests
    from onnxsim.model_info import ModelInfo

    network = Assorted().eval()
    x = torch.zeros(2, 3, 10, 12)
    with warnings.catch_warnings(), torch.no_grad():
        # the exporter announces its end
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.onnx.export(
            network, (x,), tmp_path / "model.onnx", dynamo=False, input_names=["x"]
        )
    opened = open_model("onnx", tmp_path / "model.onnx")
    count = opened.count(opened.bind(None))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x)
    assert 2 * count.macs == counter.get_total_flops()
    inferred = onnx.shape_inference.infer_shapes(
        onnx.load(tmp_path / "model.onnx"), data_prop=True
    )
    assert count.macs == ModelInfo(inferred).macs
    assert [site.op for site in count.sites] == [
        "Conv",
        "Conv",
        "ConvTranspose",
        "Conv",
        "MatMul",
        "MatMul",
        "Gemm",
    ]
    assert [site.reason is None for site in count.sites] == [
        True,
        True,
        True,
        True,
        False,
        False,
        True,
    ]
    assert count.uncounted["Softmax"] == 1


VGG16 = (
    64,
    64,
    "M",
    128,
    128,
    "M",
    256,
    256,
    256,
    "M",
    512,
    512,
    512,
    "M",
    512,
    512,
    512,
    "M",
)


def vgg16():
    """VGG16's graph; its weights are declared with their shapes and hold nothing, which counting
    need not notice.
    """
    nodes = []
    weights = {}
    value = "image"
    channels = 3
    for at, width in enumerate(VGG16):
        if width == "M":
            nodes.append(
                helper.make_node(
                    "MaxPool", [value], [f"v{at}"], kernel_shape=[2, 2], strides=[2, 2]
                )
            )
        else:
            weights[f"w{at}"] = (width, channels, 3, 3)
            nodes.append(
                helper.make_node("Conv", [value, f"w{at}"], [f"c{at}"], pads=[1] * 4)
            )
            nodes.append(helper.make_node("Relu", [f"c{at}"], [f"v{at}"]))
            channels = width
        value = f"v{at}"
    nodes.append(helper.make_node("Flatten", [value], ["flat"]))
    for at, (inner, outer) in enumerate([(25088, 4096), (4096, 4096), (4096, 1000)]):
        weights[f"l{at}"] = (outer, inner)
        nodes.append(
            helper.make_node(
                "Gemm",
                ["flat" if at == 0 else f"g{at - 1}", f"l{at}"],
                [f"g{at}"],
                transB=1,
            )
        )
    graph = helper.make_graph(
        nodes,
        "vgg16",
        [
            helper.make_tensor_value_info(
                "image", TensorProto.FLOAT, ["batch", 3, 224, 224]
            )
        ],
        [helper.make_tensor_value_info("g2", TensorProto.FLOAT, ["batch", 1000])],
        [
            TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
            for name, dims in weights.items()
        ],
    )
    return helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    )


def test_vgg16_is_15_470_gmacs_of_which_15_347_are_convolutions(tmp_path):
    path = tmp_path / "vgg16.onnx"
    path.write_bytes(vgg16().SerializeToString())
    opened = open_model("onnx", path)
    count = opened.count(opened.bind(None))
    assert count.macs == 15_470_264_320
    assert sum(site.macs for site in count.sites if site.op == "Conv") == 15_346_630_656
    assert opened.parameters == 138_344_128  # the published 138,357,544 less the biases
    assert len(count.sites) == 16
    assert count.uncounted == {"Relu": 13, "MaxPool": 5, "Flatten": 1}


def test_shapes_that_inference_does_not_tell_are_measured(tmp_path):
    text = (
        "g (float[n, 3, a, b] x) => (float[n, 4, c, d] y) <float[4, 3, 3, 3] w> {"
        + HIDDEN.format("x")
        + " [late] y = Conv <strides = [2, 2]> (h, w) }"
    )
    (site,) = counted(tmp_path, text, {"": (2, 3, 9, 12)}).sites
    assert site.calls == (Call(2, (9, 12)),)
    assert site.macs == 2 * 4 * 5 * 108


def test_values_without_a_type_are_measured_past(tmp_path):
    proto = model(
        "g (float[1, 3, a, b] x, bool c) => (float[1, 4, d, e] y) <float[4, 3, 3, 3] w> {"
        + HIDDEN.format("x")
        + """ i = If (c) <
            then_branch = yes () => (float t) { t = Relu(h) },
            else_branch = no () => (float e) { e = Neg(h) } >
        y = Conv(i, w) }"""
    )
    for branch in proto.graph.node[-2].attribute:
        branch.g.output[0].ClearField("type")
    opened = open_model("onnx", written(tmp_path, proto))
    assert macs_of(opened.count({"x": (1, 3, 9, 9), "c": ()})) == [49 * 108]


def test_stale_shapes_in_the_file_are_not_believed(tmp_path):
    proto = model(
        "g (float[1, 3, a, b] x) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w> { t = Relu(x) y = "
        "Conv(t, w) }"
    )
    proto.graph.value_info.append(
        helper.make_tensor_value_info("t", TensorProto.FLOAT, [1, 3, 8, 8])
    )
    opened = open_model("onnx", written(tmp_path, proto))
    assert macs_of(opened.count({"x": (1, 3, 10, 10)})) == [64 * 108]


def test_every_operator_that_is_not_counted_is_listed(tmp_path):
    count = counted(
        tmp_path,
        """<ir_version: 8, opset_import: ["": 17, "acme": 1]>
        g (float[2, 1, 8] x) => (float[2, 1, 8] y) <float[1, 16, 8] w, float[1, 16, 4] r> {
            o, h = LSTM <hidden_size = 4> (x, w, r)  e = Einsum <equation = "sbi->sib"> (x)
            f = Einsum <equation = "sbi,tbi,ubi->bstu"> (x, x, x)
            a = Relu(x)  b = Relu(a)  y = acme.Conv(b) }""",
    )
    products = (
        2 * 8 * 2 + 2 * 8 * 2 * 2
    )  # two operands first, their product with the third then
    assert [(site.name, site.macs) for site in count.sites] == [
        ("w", 2 * 16 * (8 + 4)),
        ("f", products),
    ]
    assert count.uncounted == {"Einsum": 1, "Relu": 2, "acme::Conv": 1}
    assert count.unaccounted == ()


def test_of_an_if_the_dearer_branch_counts(tmp_path):
    count = counted(
        tmp_path,
        """g (float[1, 3, 8, 8] x, bool c, bool d) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w,
            float[4, 4, 1, 1] v> {
            y = If (c) <
                then_branch = yes () => (float t) { t = Conv(x, w) },
                else_branch = no () => (float e) {
                    n = Neg(x) f = Conv(n, w)
                    e = If (d) <
                        then_branch = yes () => (float g) { g = Conv(f, v) },
                        else_branch = no () => (float h) { h = Relu(f) } > } > }""",
    )
    first = 36 * 108
    second = 36 * 16
    assert [(site.execution_paths, site.reason) for site in count.sites] == [
        ((first,) * 3, None),
        ((0, second, 0), None),
    ]
    assert count.execution_paths == (first, first + second, first)
    assert count.macs == first + second
    assert count.uncounted == {"If": 2, "Neg": 1, "Relu": 1}


def test_a_branch_need_not_fit_the_shapes_on_which_it_is_not_taken(tmp_path):
    count = counted(
        tmp_path,
        """g (float[n, c, 8, 8] x, bool grey) => (float y) <float[4, 3, 3, 3] w,
            float[4, 1, 3, 3] v> {
            y = If (grey) <
                then_branch = yes () => (float t) { t = Conv(x, v) },
                else_branch = no () => (float e) { e = Conv(x, w) } > }""",
        {"x": (1, 3, 8, 8)},
    )
    assert macs_of(count) == [36 * 108]
    assert count.uncounted == {"If": 1, "Conv": 1}


def test_local_functions_count_once_a_call(tmp_path):
    text = """<ir_version: 8, opset_import: ["": 17, "acme": 1]>
        g (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y) <float[4, 3, 3, 3] v, float[4, 4, 3, 3] w>
            {
            [own] a = Conv <pads = [1, 1, 1, 1]> (x, v)  b = acme.block(a, w)
            y = acme.block(b, w) }
        <domain: "acme", opset_import: ["": 17]>
        block (x, w) => (y) { t = Conv <pads = [1, 1, 1, 1]> (x, w)  y = Relu(t) }"""
    count = counted(tmp_path, text)
    assert macs_of(count) == [64 * 108, 2 * 64 * 144]
    assert [site.reason for site in count.sites] == [None] * 2


def test_a_function_that_calls_itself_is_refused(tmp_path):
    text = """<ir_version: 8, opset_import: ["": 17, "acme": 1]>
        g (float[2] x) => (float[2] y) { y = acme.f(x) }
        <domain: "acme", opset_import: ["": 17, "acme": 1]> f (x) => (y) { y = acme.f(x) }"""
    with pytest.raises(Refusal) as caught:
        counted(tmp_path, text)
    assert caught.value.code == "model_invalid"


@pytest.mark.parametrize(
    ("body", "shape", "reason"),
    [
        ("y = Conv(x, w)", (1, 4, 8, 8), "3 channels"),
        ("y = Conv(x, w)", (1, 3, 8, 2), "kernel"),
        ("y = Conv(x, w)", (1, 3, 8, 8, 8), "3 channels"),
        ("y = MatMul(x, v)", (1, 3, 8, 8), "matmul"),
        (HIDDEN.format("x") + " y = Conv(h, w)", (1, 4, 8, 8), "channels"),
    ],
    ids=["channels", "too small", "rank", "product", "at run time"],
)
def test_inputs_that_the_model_cannot_take_are_refused(tmp_path, body, shape, reason):
    sizes = ", ".join(f"d{axis}" for axis in range(len(shape)))
    text = f"g (float[{sizes}] x) => (float y) <float[4, 3, 3, 3] w, float[5, 2] v> {{ {body} }}"
    with pytest.raises(Refusal, match=reason) as caught:
        counted(tmp_path, text, {"": shape})
    assert caught.value.code == "input_shape_mismatch"
    assert caught.value.field == "input_shape"
    assert caught.value.got == "x=" + "x".join(map(str, shape))


@pytest.mark.parametrize(
    "body",
    [
        "y = Conv(x, w)",
        "y = Conv <strides = [1]> (x, v)",
        "y = Conv <group = 3> (x, t)",
        "y = Conv <kernel_shape = [5, 5]> (x, v)",
        "y = Conv <pads = [1, 1]> (x, v)",
        'y = Conv <auto_pad = "MOST"> (x, v)',
        "y = ConvTranspose <output_padding = [1]> (x, u)",
        HIDDEN.format("x") + " z = Nonsense(h) y = Conv(h, v)",
    ],
    ids=[
        "channels",
        "strides",
        "groups",
        "kernel",
        "pads",
        "auto_pad",
        "output_padding",
        "operator",
    ],
)
def test_a_model_that_contradicts_itself_is_invalid(tmp_path, body):
    weights = "<float[4, 3, 3, 3] v, float[4, 5, 3, 3] w, float[3, 4, 3, 3] u, float[4, 1, 3, 3] t>"
    with pytest.raises(Refusal) as caught:
        counted(
            tmp_path, f"g (float[1, 3, 8, 8] x) => (float y) {weights} {{ {body} }}"
        )
    assert caught.value.code == "model_invalid"
    assert caught.value.field == "model"


def test_a_layer_whose_input_has_no_rows_costs_nothing(tmp_path):
    """As the mask head of a detector that finds nothing; TorchScript counts it so, too."""
    profile = counted(
        tmp_path,
        "g (float[2, 8] x) => (float[n, 8] y) <float[8, 8] w> { b = IsNaN(x) i = NonZero(b) "
        "p = Transpose(i) r = GatherND(x, p) z = Constant <value = int64[2] {-1, 8}> () "
        "e = Reshape(r, z) h = MatMul(x, w) y = MatMul(e, w) }",
    )
    assert profile.macs == 2 * 64
    assert profile.unaccounted == ()
    rows = [site for site in profile.sites if site.macs == 0]
    # one weight is one site, be it of a layer with rows and of one without
    assert rows == []
    assert profile.sites[0].calls == (Call(2, ()), Call(0, ()))
    assert profile.sites[0].sized_by_values


IDLE = """g (float[1, 3, 8, 8] x) => (float[n, 4] y)
<float[4, 3, 3, 3] c, float[4, 144] w> {{
    bad = IsNaN(x)
    i = NonZero(bad)
    j = Transpose(i)
    first = Constant <value = int64[1] {{0}}> ()
    second = Constant <value = int64[1] {{1}}> ()
    column = Slice(j, first, second, second)
    s = Squeeze(column, second)
    crops = Gather(x, s)
    {layer}
}}"""


@pytest.mark.parametrize(
    ("layer", "op"),
    [
        ("y = Conv(crops, c)", "Conv"),
        (
            "f = Conv(x, c) g = Gather(f, s) d = Flatten(g) y = Gemm <transB = 1> (d, w)",
            "Gemm",
        ),
    ],
)
def test_a_layer_without_rows_is_listed_and_may_be_factored(tmp_path, layer, op):
    profile = counted(tmp_path, IDLE.format(layer=layer))
    idle = profile.sites[-1]
    assert (idle.op, idle.macs, idle.reason) == (op, 0, None)
    assert idle.sized_by_values
    assert profile.sized_outputs == {"y"}


def test_layers_whose_shapes_inference_finds_are_not_sized_by_values(tmp_path):
    profile = counted(
        tmp_path,
        "g (float[2, 8] x) => (float[2, 8] y) <float[8, 8] w> { s = Shape(x) "
        "r = Reshape(x, s) y = MatMul(r, w) }",
    )
    assert not profile.sites[0].sized_by_values
    assert profile.sized_outputs == frozenset()
