"""A second counter of multiply-accumulates, which shares no rule and no shape with the product's.

It runs a model with the operands and the results of every product as outputs. It computes the
multiply-accumulates of a product from the arrays that come out, by the operator's definition.
"""

from math import prod

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

ANY = onnx.TensorProto.UNDEFINED


def oracle_macs(path, inputs):
    """Return the multiply-accumulates of a model of one graph on these inputs."""
    return model_macs(onnx.load(path), inputs)


def model_macs(model, inputs):
    """Return the multiply-accumulates of a loaded model of one graph; its outputs are changed."""
    products = [node for node in model.graph.node if node.op_type in COUNTS]
    if not products:
        return 0
    arrays = _run(model, inputs, products)
    return sum(_macs(node, arrays) for node in products)


def _run(model, inputs, products):
    """Return the operands and results of these nodes by name."""
    graph = model.graph
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    computed = {name for node in graph.node for name in node.output if name}
    names = []
    for node in products:
        names += [name for name in (*node.input, *node.output) if name in computed]
    names = list(dict.fromkeys(names))
    graph.ClearField("output")
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Optimised graphs have other values.
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    results = session.run(names, inputs)
    return {**known, **inputs, **dict(zip(names, results, strict=True))}


def _macs(node, arrays):
    count = COUNTS[node.op_type]
    operands = [arrays.get(name) for name in node.input]
    results = [arrays.get(name) for name in node.output]
    values = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return int(count(operands, results, values))


def _conv(operands, results, _values, x=0, w=1):
    """Every element of the result sums over a filter."""
    return results[0].size * prod(operands[w].shape[1:])


def _conv_of_ordered_weights(operands, results, _values):
    return results[0][:, 0].size * operands[1].size


def _transposed_conv(operands, _results, _values):
    """Every element of the input is multiplied by all filters of its channel."""
    return operands[0].size * prod(operands[1].shape[1:])


def _summed(left, result, transposed):
    return result.size * left.shape[-2 if transposed else -1]


def _gemm(operands, results, values):
    return _summed(operands[0], results[0], values.get("transA"))


def _matmul(operands, results, _values):
    return _summed(np.atleast_1d(operands[0]), results[0], False)


def _fused_matmul(operands, results, values):
    left = operands[0]
    axis = -1
    if values.get("transA"):
        axis = 0 if values.get("transBatchA") and left.ndim > 2 else -2
        axis = -2 if not values.get("transBatchA") else axis
    return results[0].size * left.shape[axis]


def _packed(operands, results, values):
    return results[0].size * values["K"]


def _recurrent(operands, _results, _values):
    x, w, r = operands[:3]
    return x.shape[0] * x.shape[1] * (w.size + r.size)


def _einsum(operands, _results, values):
    """Count the steps that numpy takes from left to right, without its own optimisation."""
    inputs, _, _result = values["equation"].decode().replace(" ", "").partition("->")
    sizes = {}
    for term, operand in zip(inputs.split(","), operands, strict=True):
        for label, size in zip(term, operand.shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    assert len(operands) == 2
    return prod(sizes.values())


def _attention_products(query, key, value):
    """Count the products of heads, each operand `(batch, heads, rows, depth)`."""
    batch, heads, rows, depth = query
    columns = key[2]
    return batch * heads * rows * columns * (depth + value[3])


def _attention(operands, _results, values):
    """Count onnx's own Attention by its heads."""
    query, key, value = (each.shape for each in operands[:3])
    if len(query) == 3:
        heads, key_heads = values["q_num_heads"], values["kv_num_heads"]
        query = (query[0], heads, query[1], query[2] // heads)
        key = (key[0], heads, key[1], key[2] // key_heads)
        value = (value[0], heads, value[1], value[2] // key_heads)
    past = operands[4].shape[2] if len(operands) > 4 and operands[4] is not None else 0
    return _attention_products(query, (*key[:2], key[2] + past, key[3]), value)


def _contrib_attention(operands, results, values):
    """Count the projections, and the products by the result, which has the value's width."""
    x, w = operands[:2]
    rows = x[..., 0].size
    sizes = values.get("qkv_hidden_sizes") or [w.shape[1] // 3] * 3
    columns = x.shape[1]
    # The past alone has five axes.
    pasts = [each for each in operands if each is not None and each.ndim == 5]
    columns += sum(each.shape[3] for each in pasts)
    return rows * w.size + rows * columns * (sizes[0] + results[0].shape[-1])


def _multi_head_attention(operands, results, values):
    query, *others = operands
    heads = values["num_heads"]
    batch, rows = query.shape[:2]
    depth = query.shape[-1] if query.ndim == 5 else query.shape[2] // heads
    key = others[0] if others else None
    columns = rows
    if key is not None:
        columns = key.shape[2] if key.ndim == 4 else key.shape[1]
    if len(others) > 5 and others[5] is not None:
        columns += others[5].shape[2]
    return batch * rows * columns * (heads * depth + results[0].shape[-1])


def _grouped_attention(_operands, results, values):
    """The result has the query's width, and present has all columns."""
    y, present = results[:2]
    return 2 * y.size * present.shape[2]


def _distances(operands, results, _values):
    return results[0].size * operands[0].shape[1]


def _experts(operands, _results, values):
    """Every row passes the layers of k experts."""
    rows = operands[0][..., 0].size
    weights = [
        each[0].size for each in operands[2:] if each is not None and each.ndim == 3
    ]
    return rows * values["k"] * sum(weights)


COUNTS = {
    "Conv": _conv,
    "FusedConv": _conv,
    "ConvInteger": _conv,
    "DeformConv": _conv,
    "QLinearConv": lambda operands, results, values: _conv(
        operands, results, values, w=3
    ),
    "ConvTranspose": _transposed_conv,
    "ConvTransposeWithDynamicPads": _transposed_conv,
    "Gemm": _gemm,
    "FusedGemm": _gemm,
    "QGemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "MatMulIntegerToFloat": _matmul,
    "DynamicQuantizeMatMul": _matmul,
    "QLinearMatMul": _matmul,
    "FusedMatMul": _fused_matmul,
    "MatMulNBits": _packed,
    "RNN": _recurrent,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "DynamicQuantizeLSTM": _recurrent,
    "Einsum": _einsum,
    "Attention": lambda operands, results, values: (
        _contrib_attention if "num_heads" in values else _attention
    )(operands, results, values),
    "QAttention": _contrib_attention,
    "MultiHeadAttention": _multi_head_attention,
    "GroupQueryAttention": _grouped_attention,
    "CDist": _distances,
    "MoE": _experts,
}
