"""Every operator with products is counted as the oracle counts it, from the arrays of a run."""

import numpy as np
import onnx
import onnxruntime
import pytest
from support.onnx.counting_oracle import oracle_macs
from support.onnx.text import model, written

from worker.engine.formats import open_model

HEADER = '<ir_version: 9, opset_import: ["": 23, "com.microsoft": 1, "ai.onnx.ml": 3]>'

CONVOLUTIONS = {
    "plain": "(float[2, 6, 9, 8] x) => (y) <float[8, 3, 3, 2] w> "
    "{ y = Conv <group = 2, strides = [2, 1], pads = [1, 0, 1, 0], dilations = [1, 2]> (x, w) }",
    "same": "(float[1, 4, 9] x) => (y) <float[8, 4, 3] w> "
    '{ y = Conv <auto_pad = "SAME_UPPER", strides = [2]> (x, w) }',
    "transposed": "(float[1, 6, 5, 5] x) => (y) <float[6, 4, 3, 3] w> "
    "{ y = ConvTranspose <strides = [2, 2], group = 2> (x, w) }",
    "fused": "(float[1, 4, 9, 9] x) => (y) <float[8, 4, 3, 3] w, float[8] b> "
    '{ y = com.microsoft.FusedConv <activation = "Relu", pads = [1, 1, 1, 1]> (x, w, b) }',
    "fused with a residual": "(float[1, 8, 9, 9] x) => (y) <float[8, 8, 3, 3] w, float[8] b> "
    '{ y = com.microsoft.FusedConv <activation = "LeakyRelu", activation_params = [0.1], '
    "pads = [1, 1, 1, 1]> (x, w, b, x) }",
    "deformed": "(float[1, 4, 5, 5] x, float[1, 8, 4, 4] o) => (y) <float[6, 4, 2, 2] w> "
    "{ y = DeformConv (x, w, o) }",
    "integer": "(uint8[1, 4, 9, 9] x) => (y) <uint8[8, 4, 3, 3] w> { y = ConvInteger(x, w) }",
    "dynamic pads": "(float[1, 4, 5, 5] x) => (y) <float[4, 6, 3, 3] w> "
    "{ p = Constant <value = int64[4] {1, 1, 1, 1}> () "
    "y = com.microsoft.ConvTransposeWithDynamicPads <strides = [2, 2]> (x, w, p) }",
    "quantised": "(uint8[1, 4, 9, 9] x) => (y) <int8[8, 4, 3, 3] w> "
    "{ s = Constant <value = float {0.1}> () z = Constant <value = uint8 {3}> () "
    "v = Constant <value = int8 {0}> () y = QLinearConv(x, s, z, w, s, v, s, z) }",
}
PRODUCTS = {
    "matmul": "(float[2, 3, 8] x) => (y) <float[8, 5] w> { y = MatMul(x, w) }",
    "activations": "(float[2, 3, 8] x, float[8, 4] z) => (y) { y = MatMul(x, z) }",
    "vector": "(float[8] x) => (y) <float[8, 5] w> { y = MatMul(x, w) }",
    "gemm": "(float[8, 3] x) => (y) <float[5, 8] w> { y = Gemm <transA = 1, transB = 1> (x, w) }",
    "fused gemm": "(float[3, 8] x) => (y) <float[8, 5] w, float[5] b> "
    '{ y = com.microsoft.FusedGemm <activation = "Relu"> (x, w, b) }',
    "fused matmul": "(float[2, 3, 8] x) => (y) <float[5, 8] w> "
    "{ y = com.microsoft.FusedMatMul <transB = 1, alpha = 0.5> (x, w) }",
    "fused product": "(float[2, 8, 3] x, float[2, 8, 5] z) => (y) "
    "{ y = com.microsoft.FusedMatMul <transA = 1> (x, z) }",
    "fused product of moved batches": "(float[7, 2, 8] x, float[8, 2, 5] z) => (y) "
    "{ y = com.microsoft.FusedMatMul <transBatchA = 1, transBatchB = 1> (x, z) }",
    "parameters alone": "(float[6, 8] x) => (y) <float[6, 3] t, float[3, 5] w, float[5, 8] v> "
    "{ h = MatMul(t, w) r = Relu(h) p = MatMul(r, v) y = Add(x, p) }",
    "integer": "(uint8[3, 8] x) => (y) <uint8[8, 5] w> { y = MatMulInteger(x, w) }",
    "dynamically quantised": "(float[3, 8] x) => (y) <int8[8, 5] w> "
    "{ s = Constant <value = float {0.1}> () y = com.microsoft.DynamicQuantizeMatMul(x, w, s) }",
    "integer to float": "(uint8[3, 8] x) => (y) <int8[8, 5] w> "
    "{ s = Constant <value = float {0.1}> () "
    "y = com.microsoft.MatMulIntegerToFloat(x, w, s, s) }",
    "quantised gemm": "(uint8[3, 8] x) => (y) <int8[8, 5] w> "
    "{ s = Constant <value = float {0.1}> () z = Constant <value = uint8 {3}> () "
    "v = Constant <value = int8 {0}> () y = com.microsoft.QGemm(x, s, z, w, s, v, , s, z) }",
    "quantised product": "(uint8[3, 8] x) => (y) <int8[8, 5] w> "
    "{ s = Constant <value = float {0.1}> () z = Constant <value = uint8 {3}> () "
    "v = Constant <value = int8 {0}> () y = QLinearMatMul(x, s, z, w, s, v, s, z) }",
    "blocks of bits": "(float[2, 3, 64] x) => (y) <uint8[10, 2, 16] w, float[20] s> "
    "{ y = com.microsoft.MatMulNBits <K = 64, N = 10, bits = 4, block_size = 32> (x, w, s) }",
    "einsum": "(float[2, 3, 8] x) => (y) <float[4, 8, 5] w> "
    '{ y = Einsum <equation = "bsi,hio->bhso"> (x, w) }',
    "distances": "(float[3, 8] x, float[5, 8] z) => (y) "
    '{ y = com.microsoft.CDist <metric = "sqeuclidean"> (x, z) }',
}
SEQUENCES = {
    "rnn": "(float[7, 2, 8] x) => (y) <float[1, 5, 8] w, float[1, 5, 5] r> "
    "{ y = RNN <hidden_size = 5> (x, w, r) }",
    "gru": "(float[7, 2, 8] x) => (y) <float[2, 15, 8] w, float[2, 15, 5] r> "
    '{ y = GRU <hidden_size = 5, direction = "bidirectional"> (x, w, r) }',
    "lstm": "(float[7, 2, 8] x) => (y) <float[1, 20, 8] w, float[1, 20, 5] r> "
    "{ y = LSTM <hidden_size = 5> (x, w, r) }",
    "attention": "(float[2, 5, 8] q, float[2, 7, 8] k, float[2, 7, 12] v) => (y) "
    "{ y = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v) }",
    "attention of heads": "(float[2, 4, 5, 8] q, float[2, 2, 7, 8] k, float[2, 2, 7, 6] v) => (y) "
    "{ y = Attention (q, k, v) }",
    "contrib attention": "(float[2, 5, 8] x) => (y) <float[8, 24] w, float[24] b> "
    "{ y = com.microsoft.Attention <num_heads = 2> (x, w, b) }",
    "attention of two widths": "(float[2, 5, 8] x) => (y) <float[8, 28] w, float[28] b> "
    "{ y = com.microsoft.Attention <num_heads = 2, qkv_hidden_sizes = [8, 8, 12]> (x, w, b) }",
    "heads": "(float[2, 5, 8] q, float[2, 7, 8] k, float[2, 7, 12] v) => (y) "
    "{ y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v) }",
    "attention with a past": "(float[1, 2, 5, 8] q, float[1, 2, 5, 8] k, float[1, 2, 5, 6] v, "
    "float[1, 2, 3, 8] p, float[1, 2, 3, 6] r) => (y) "
    "{ y, a, b = Attention (q, k, v, , p, r) }",
    "contrib attention with a past": "(float[1, 5, 8] x, float[2, 1, 2, 3, 4] p) => (y) "
    "<float[8, 24] w, float[24] b> "
    "{ y, n = com.microsoft.Attention <num_heads = 2> (x, w, b, , p) }",
    "quantised attention": "(uint8[1, 5, 8] x) => (y) <uint8[8, 24] w, float[24] b> "
    "{ s = Constant <value = float {0.1}> () z = Constant <value = uint8 {3}> () "
    "y = com.microsoft.QAttention <num_heads = 2> (x, w, b, s, s, , z, z) }",
    "heads with a past": "(float[1, 5, 8] q, float[1, 5, 8] k, float[1, 5, 8] v, "
    "float[1, 2, 3, 4] p, float[1, 2, 3, 4] r) => (y) { y, a, b = "
    "com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v, , , , p, r) }",
    "heads of another sequence": "(float[1, 5, 8] q, float[1, 2, 7, 4] k, float[1, 2, 7, 4] v) "
    "=> (y) { y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v) }",
    "quantised lstm": "(float[7, 2, 8] x) => (y) <uint8[1, 8, 20] w, uint8[1, 5, 20] r> "
    "{ s = Constant <value = float[1] {0.1}> () z = Constant <value = uint8[1] {3}> () "
    "y = com.microsoft.DynamicQuantizeLSTM <hidden_size = 5> "
    "(x, w, r, , , , , , s, z, s, z) }",
    "grouped heads": "(float[2, 5, 16] q, float[2, 5, 8] k, float[2, 5, 8] v) => (y) "
    "{ l = Constant <value = int32[2] {4, 4}> () n = Constant <value = int32[1] {5}> () "
    "y, a, b = com.microsoft.GroupQueryAttention <num_heads = 2, kv_num_heads = 1> "
    "(q, k, v, , , l, n) }",
    "experts": "(float[2, 5, 8] x) => (y) <float[8, 4] r, float[4, 12, 8] w, float[4, 8, 12] v> "
    "{ n = Constant <value = int64[2] {-1, 8}> () t = Reshape(x, n) p = MatMul(t, r) "
    "y = com.microsoft.MoE <k = 2> (x, p, w, , v) }",
    "normalisation": "(float[2, 5, 8] x) => (y) <float[8, 8] w, float[8] g> "
    "{ h = MatMul(x, w) y = com.microsoft.SkipLayerNormalization(x, h, g) }",
    "gelu": "(float[2, 5, 8] x) => (y) <float[8, 8] w, float[8] b> "
    "{ h = MatMul(x, w) y = com.microsoft.BiasGelu(h, b) }",
}
ALL = {
    f"{kind}: {name}": text
    for kind, texts in (
        ("convolution", CONVOLUTIONS),
        ("product", PRODUCTS),
        ("sequence", SEQUENCES),
    )
    for name, text in texts.items()
}

ELEMENTS = {
    "ConvInteger": onnx.TensorProto.INT32,
    "MatMulInteger": onnx.TensorProto.INT32,
    "QGemm": onnx.TensorProto.UINT8,
    "QLinearConv": onnx.TensorProto.UINT8,
    "QLinearMatMul": onnx.TensorProto.UINT8,
}
"""The element types of results that are no floats."""


def arrays(specs):
    rng = np.random.default_rng(0)
    shapes = {spec.name: spec.shape for spec in specs}
    return {
        spec.name: np.abs(rng.standard_normal(shapes[spec.name])).astype(spec.dtype)
        for spec in specs
    }


def graph(text):
    """Return a model whose output has no declared shape."""
    head, _, body = text.partition("=> (y)")
    parsed = model(f"{HEADER} g {head}=> (float y) {body}")
    last = parsed.graph.node[-1].op_type
    tensor = parsed.graph.output[0].type.tensor_type
    tensor.ClearField("shape")
    tensor.elem_type = ELEMENTS.get(last, onnx.TensorProto.FLOAT)
    return parsed


@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
def test_the_oracle_counts_the_same(tmp_path, text):
    path = written(tmp_path, graph(text))
    opened = open_model("onnx", path)
    profile = opened.count(opened.bind(None))
    assert profile.unaccounted == ()
    assert profile.macs == oracle_macs(path, arrays(opened.inputs)) > 0


NETWORK = (
    "(float[1, 8, 14, 14] x) => (y) <float[32, 8, 3, 3] w, float[32] b, float[32, 32, 3, 3] v, "
    "float[32, 1, 3, 3] d, float[32, 10] m> { c = Conv <pads = [1, 1, 1, 1]> (x, w, b) r = Relu(c) "
    "e = Conv <pads = [1, 1, 1, 1]> (r, v) s = Add(e, r) t = Relu(s) "
    "u = Conv <group = 32> (t, d) k = Sigmoid(u) p = GlobalAveragePool(k) f = Flatten(p) "
    "y = Gemm(f, m) }"
)


# The runtime makes one operator of its own of the normalisation, and another of the activation.
GATED = (
    "(float[2, 7, 16] x) => (y) <float[16, 64] w, float[64, 16] v, float[16] g> { "
    "p = Constant <value = float {2.0}> () d = Pow(x, p) "
    "l = Constant <value = int64[1] {-1}> () m = ReduceMean <keepdims = 1> (d, l) "
    "e = Constant <value = float {0.00001}> () q = Add(m, e) r = Sqrt(q) s = Div(x, r) "
    "t = Mul(g, s) a = MatMul(t, w) u = Sigmoid(a) h = Mul(a, u) f = MatMul(h, v) y = Add(f, x) }"
)


@pytest.mark.parametrize("network", [NETWORK, GATED], ids=["images", "gated"])
@pytest.mark.parametrize("level", ["BASIC", "EXTENDED", "ALL"])
def test_a_model_that_the_runtime_has_optimised_counts_as_before(
    tmp_path, level, network
):
    path = written(tmp_path, graph(network))
    optimised = tmp_path / "optimised.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(optimised)
    options.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}"
    )
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    opened = open_model("onnx", optimised)
    profile = opened.count(opened.bind(None))
    assert profile.unaccounted == ()
    assert profile.macs == oracle_macs(path, arrays(opened.inputs))
