"""Multiply-accumulates of the operators that hold several products, or one of another shape.

Products of two matrices and convolutions are layers, which `trace` reads in full.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

_aten = torch.ops.aten

Rule = Callable[[Sequence[Any], Any], int]
"""Returns the MACs of one call from its arguments by position and its result."""


def _conv_tbc(arguments: Sequence[Any], result: Tensor) -> int:
    """Every number of the result sums one filter's weights."""
    _, weight, *_ = arguments
    length, batch, _ = result.shape
    return int(length * batch * weight.numel())


def _cdist(arguments: Sequence[Any], result: Tensor) -> int:
    """A distance sums as many terms as a point has coordinates."""
    points, *_ = arguments
    return int(result.numel() * points.shape[-1])


def _addbmm(arguments: Sequence[Any], result: Tensor) -> int:
    _, left, _, *_ = arguments
    batch, _, inner = left.shape
    return int(batch * inner * result.numel())


def _trilinear(arguments: Sequence[Any], _: object) -> int:
    """`bilinear`: a product over the axes that the third factor lacks, then one over the others."""
    first, second, third, expand1, expand2, expand3, summed, *_ = arguments
    pairs = ((first, expand1), (second, expand2), (third, expand3))
    spread = [_unsqueezed(factor.shape, axes) for factor, axes in pairs]
    axes_of_each = zip(*spread, strict=True)
    sizes = [max(axis) for axis in axes_of_each]
    terms = prod(sizes)
    inner_sizes = [sizes[axis] for axis in summed if axis in expand3]
    inner = prod(inner_sizes)
    return int(terms + terms // max(inner, 1))


def _unsqueezed(shape: Sequence[int], axes: Sequence[int]) -> list[int]:
    """Return a shape with axes of one element at these positions of the result."""
    sizes = list(shape)
    for axis in sorted(axes):
        sizes.insert(axis, 1)
    return sizes


def _attention(arguments: Sequence[Any], _: object) -> int:
    """Scores are products of queries and keys; the result sums values by them."""
    query, value = arguments[0], arguments[2]
    *batch, queries, width = query.shape
    keys, value_width = value.shape[-2:]
    positions = prod(batch) * queries * keys
    return int(positions * (width + value_width))


def _multi_head_attention(arguments: Sequence[Any], _: object) -> int:
    """Four linear layers around the two products of attention."""
    query, key, value, width = arguments[:4]
    out_weight = arguments[7]
    operands = (query, key, value, query)
    rows = [tensor.numel() // width for tensor in operands]
    layers = sum(rows) * out_weight.numel()
    products = 2 * rows[0] * key.shape[1] * width
    return int(layers + products)


def _encoder_layer(arguments: Sequence[Any], result: object) -> int:
    """Attention of a value to itself, and two linear layers."""
    source, width, heads, in_weight, in_bias, out_weight, *_ = arguments
    attention = [source, source, source, width, heads, in_weight, in_bias, out_weight]
    weight_1, weight_2 = arguments[14], arguments[16]
    rows = source.numel() // width
    weights = weight_1.numel() + weight_2.numel()
    layers = rows * weights
    own_attention = _multi_head_attention(attention, result)
    return int(own_attention + layers)


RULES: dict[Any, Rule] = {
    _aten.conv_tbc: _conv_tbc,
    _aten._cdist_forward: _cdist,
    _aten._euclidean_dist: _cdist,
    _aten.addbmm: _addbmm,
    _aten._trilinear: _trilinear,
    _aten._native_multi_head_attention: _multi_head_attention,
    _aten._transformer_encoder_layer_fwd: _encoder_layer,
    _aten._scaled_dot_product_flash_attention: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_efficient_attention: _attention,
    _aten._scaled_dot_product_cudnn_attention: _attention,
    _aten._scaled_dot_product_fused_attention_overrideable: _attention,
}
"""The rules by operator."""

_WITHOUT_PRODUCTS = frozenset(
    """
    _adaptive_avg_pool2d _adaptive_avg_pool3d _cdist_backward _embedding_bag
    _embedding_bag_forward_only _fused_rms_norm _index_put_impl _log_softmax
    _native_batch_norm_legit _native_batch_norm_legit_functional
    _native_batch_norm_legit_no_training _pack_padded_sequence _prelu_kernel _reshape_copy
    _safe_softmax _softmax _to_copy _unsafe_index _unsafe_view _weight_norm_interface
    adaptive_max_pool2d adaptive_max_pool3d all amax amin any argmax argmin argsort as_strided
    avg_pool2d avg_pool3d batch_norm_elemt block_diag bucketize cat clone col2im constant_pad_nd
    contiguous copy copy_ cummax cummin cumprod cumsum detach diag_embed embedding
    embedding_renorm_ empty_like equal expand_copy fft_fft _fft_c2c _fft_c2r _fft_r2c fill_ flip
    full_like gather glu grid_sampler_2d grid_sampler_2d_cpu_fallback grid_sampler_3d histc
    im2col index index_add index_copy index_fill index_put index_put_ index_select
    is_pinned isin kthvalue lift_fresh linalg_vector_norm logcumsumexp logsumexp masked_scatter
    masked_select max max_pool2d_with_indices max_pool3d_with_indices mean median min mode
    native_batch_norm native_group_norm native_layer_norm new_empty new_empty_strided new_full
    new_ones new_zeros nll_loss_forward nonzero norm normal_ ones_like pixel_shuffle
    pixel_unshuffle prod rand_like randn_like reflection_pad1d reflection_pad2d reflection_pad3d
    repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d roll rot90
    scatter scatter_add scatter_reduce searchsorted select_scatter slice_scatter sort std
    std_mean sum take topk tril triu unfold_copy unique_dim _unique2 upsample_bicubic2d
    upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
    upsample_nearest3d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa var
    var_mean zero_ zeros_like _local_scalar_dense _assert_async _assert_tensor_metadata
    """.split()  # noqa: SIM905 - a hundred quoted words are no easier to read
)


def has_no_products(operator: Any) -> bool:  # noqa: ANN401 - an operator's overload has no public type
    """Whether an operator is known to compute no product of two tensors' axes."""
    name = operator._schema.name.removeprefix("aten::")
    is_elementwise = torch.Tag.pointwise in operator.tags
    return (
        is_elementwise
        or name in _WITHOUT_PRODUCTS
        or name.rstrip("_") in _WITHOUT_PRODUCTS
    )
