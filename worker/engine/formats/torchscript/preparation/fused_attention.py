"""Write torch's fused attention operators as the layers and products that they consist of.

In inference without gradients `nn.MultiheadAttention` and `nn.TransformerEncoderLayer` take a fast
path: one operator that holds the weights of several layers. With gradients they take a slow path,
which computes the same. Once the fast path consists of layers too, a weight is replaced in both.

Source: aten/src/ATen/native/transformers/attention.cpp and transformer.cpp of torch 2.13.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._C import Graph, Node, OptionalType, TensorType
from torch.nn import functional

from worker.engine.formats.torchscript.graph import literal, nodes

_NEED_WEIGHTS = 10
"""The position of this argument of `aten::_native_multi_head_attention`."""


def write_out(graph: Graph) -> None:
    """Replace the fused attention operators of a graph, and those in its branches and loops."""
    for node in list(nodes(graph)):
        if node.kind() == "aten::_transformer_encoder_layer_fwd":
            _replace(graph, node, _encoder_layer)
    # an encoder layer holds attention
    for node in list(nodes(graph)):
        if node.kind() == "aten::_native_multi_head_attention":
            _leave_out_weights(graph, node)
            _replace(graph, node, _multi_head_attention)


def _leave_out_weights(graph: Any, node: Node) -> None:  # noqa: ANN401 - not in torch's stubs
    """Give None for the weights of attention that nobody asked for.

    The operator gives an undefined tensor there, which is None in Python.
    """
    if literal(node.inputsAt(_NEED_WEIGHTS)) is not False:
        return
    nothing = graph.insertConstant(None)
    nothing.setType(OptionalType(TensorType.get()))
    nothing.node().moveBefore(node)
    node.outputsAt(1).replaceAllUsesWith(nothing)


def _replace(graph: Any, node: Node, function: Callable[..., Any]) -> None:  # noqa: ANN401 - not in torch's stubs
    """Put the graph of a function in a node's place."""
    graph.setInsertPoint(node)
    operands = list(node.inputs())
    replacing = _graph_of(function)
    (result,) = graph.insertGraph(replacing, operands)
    graph.setInsertPoint(graph.block())
    results = [result]
    if node.outputsSize() > 1:
        results = list(result.node().inputs())
    pairs = zip(node.outputs(), results, strict=True)
    for old, new in pairs:
        old.replaceAllUsesWith(new)
    node.destroy()


@cache
def _graph_of(function: Callable[..., Any]) -> Graph:
    graph: Graph = torch.jit.script(function).graph
    torch._C._jit_pass_inline(graph)
    return graph


def _multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,  # noqa: ARG001 - the operator's own signature
    num_heads: int,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    mask: Tensor | None,
    need_weights: bool,
    average_weights: bool,
    mask_type: int | None,
) -> tuple[Tensor, Tensor]:
    """Compute `aten::_native_multi_head_attention` of `(batch, length, embed_dim)`.

    The second result are the weights, without elements where nobody asked for them.
    """
    if query is key and key is value:
        q, k, v = functional.linear(query, in_weight, in_bias).chunk(3, -1)
    else:
        q_weight, k_weight, v_weight = in_weight.chunk(3)
        q_bias, k_bias, v_bias = in_bias.chunk(3)
        q = functional.linear(query, q_weight, q_bias)
        k = functional.linear(key, k_weight, k_bias)
        v = functional.linear(value, v_weight, v_bias)
    q = torch.unflatten(q, -1, [num_heads, -1]).transpose(1, 2)
    k = torch.unflatten(k, -1, [num_heads, -1]).transpose(1, 2)
    v = torch.unflatten(v, -1, [num_heads, -1]).transpose(1, 2)
    allowed: Tensor | None = None
    if mask is not None:
        # the operator takes any number but 0 for true, which is a position to leave out
        allowed = mask.to(torch.bool).logical_not()
        if (
            mask_type is not None and mask_type == 1
        ):  # one row a sample, for all heads and queries
            allowed = allowed.unsqueeze(1).unsqueeze(1)
    weights = query.new_empty([0])
    if need_weights:
        scores = torch.matmul(q, k.transpose(-2, -1)) / (q.size(-1) ** 0.5)
        if allowed is not None:
            scores = scores.masked_fill(allowed.logical_not(), -float("inf"))
        weights = torch.softmax(scores, -1)
        mixed = torch.matmul(weights, v)
        if average_weights:
            weights = weights.mean(1)
    else:
        mixed = functional.scaled_dot_product_attention(q, k, v, allowed)
    output = functional.linear(mixed.transpose(1, 2).flatten(2), out_weight, out_bias)
    return output, weights


def _encoder_layer(
    source: Tensor,
    embed_dim: int,
    num_heads: int,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    use_gelu: bool,
    norm_first: bool,
    epsilon: float,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    weight_1: Tensor,
    bias_1: Tensor,
    weight_2: Tensor,
    bias_2: Tensor,
    mask: Tensor | None,
    mask_type: int | None,
) -> Tensor:
    """Compute `aten::_transformer_encoder_layer_fwd` of `(batch, length, embed_dim)`."""
    x = source
    if norm_first:
        x = functional.layer_norm(x, [embed_dim], norm_weight_1, norm_bias_1, epsilon)
    x, _ = torch._native_multi_head_attention(
        x, x, x, embed_dim, num_heads, in_weight, in_bias, out_weight, out_bias,
        mask, False, True, mask_type,
    )  # fmt: skip
    x = x + source
    if not norm_first:
        x = functional.layer_norm(x, [embed_dim], norm_weight_1, norm_bias_1, epsilon)
    attended = x
    if norm_first:
        x = functional.layer_norm(x, [embed_dim], norm_weight_2, norm_bias_2, epsilon)
    x = functional.linear(x, weight_1, bias_1)
    x = functional.gelu(x) if use_gelu else functional.relu(x)
    x = functional.linear(x, weight_2, bias_2) + attended
    if not norm_first:
        x = functional.layer_norm(x, [embed_dim], norm_weight_2, norm_bias_2, epsilon)
    return x
