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


def _by_width(arguments: Sequence[Any], result: Tensor) -> int:
    """Every number of the result sums over the last axis of the first factor."""
    factor, *_ = arguments
    return int(result.numel() * factor.shape[-1])


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
    # A distance sums as many terms as a point has coordinates.
    _aten._cdist_forward: _by_width,
    _aten._euclidean_dist: _by_width,
    _aten._pdist_forward: _by_width,
    # A row goes to one matrix of a group.
    _aten._grouped_mm: _by_width,
    _aten._weight_int8pack_mm: _by_width,
    _aten._weight_int4pack_mm_for_cpu: _by_width,
    _aten.addbmm: _addbmm,
    _aten.addbmm_: _addbmm,
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
    _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d addr
    affine_grid_generator alias_copy all allclose amax amin _aminmax aminmax any argmax argmin
    argsort as_strided as_strided_copy as_strided_scatter _assert_async _assert_tensor_metadata
    avg_pool2d avg_pool3d batch_norm_elemt batch_norm_stats bernoulli binary_cross_entropy
    binary_cross_entropy_with_logits bincount block_diag bucketize cat _cdist_backward
    channel_shuffle _chunk_cat clone col2im complex constant_pad_nd contiguous copy copy_
    count_nonzero cummax _cummax_helper cummin _cummin_helper cumprod cumsum detach detach_copy
    diag_embed diagonal_copy diagonal_scatter dist embedding _embedding_bag
    _embedding_bag_forward_only embedding_renorm_ empty_like eq equal expand_copy
    _fake_quantize_learnable_per_channel_affine _fake_quantize_learnable_per_tensor_affine
    fake_quantize_per_channel_affine_cachemask fake_quantize_per_tensor_affine_cachemask
    _fake_quantize_per_tensor_affine_cachemask_tensor_qparams _fft_c2c _fft_c2r fft_fft _fft_r2c
    fill fill_ flip floor_divide fractional_max_pool2d fractional_max_pool3d full_like
    _fused_rms_norm gather ge glu grid_sampler_2d grid_sampler_2d_cpu_fallback grid_sampler_3d
    gt histc histogram huber_loss im2col index index_add index_copy index_fill index_put
    index_put_ _index_put_impl index_reduce index_select is_pinned isin kthvalue le lift_fresh
    lift_fresh_copy linalg_vector_norm linspace _local_scalar_dense log_sigmoid_forward
    _log_softmax _logcumsumexp logcumsumexp logsumexp lt masked_fill masked_scatter
    masked_select _masked_softmax max max_pool2d_with_indices max_pool3d_with_indices
    max_unpool2d max_unpool3d mean median min mode mse_loss multinomial nanmedian nansum
    narrow_copy native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_functional
    _native_batch_norm_legit_no_training native_dropout native_group_norm native_layer_norm
    native_norm ne new_empty new_empty_strided new_full new_ones new_zeros nll_loss2d_forward
    nll_loss_forward nonzero nonzero_static norm normal normal_ ones_like _pack_padded_sequence
    permute_copy pixel_shuffle pixel_unshuffle polar _prelu_kernel prod put rand_like
    randint_like randn_like reflection_pad1d reflection_pad2d reflection_pad3d renorm repeat
    repeat_interleave replication_pad1d replication_pad2d replication_pad3d _reshape_copy resize
    resize_as roll rot90 rrelu_with_noise rsub _safe_softmax scatter scatter_add scatter_reduce
    searchsorted segment_reduce select_copy select_scatter set slice_copy slice_scatter
    smooth_l1_loss _softmax sort split_copy split_with_sizes_copy squeeze_copy stack _stack std
    std_mean sum t_copy take _to_copy to_padded_tensor topk trace transpose_copy tril triu
    unbind_copy unfold_copy uniform _unique _unique2 unique_consecutive unique_dim
    unique_dim_consecutive _unsafe_index _unsafe_index_put _unsafe_masked_index unsafe_split
    unsafe_split_with_sizes _unsafe_view unsqueeze_copy upsample_bicubic2d
    _upsample_bicubic2d_aa upsample_bilinear2d _upsample_bilinear2d_aa upsample_linear1d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
    _upsample_nearest_exact2d _upsample_nearest_exact3d upsample_trilinear3d var var_mean
    view_as_complex_copy view_as_real_copy view_copy _weight_norm_interface zero_ zeros_like
    """.split()  # noqa: SIM905 - hundreds of quoted words are no easier to read
)

_SOLVERS = frozenset(
    {
        "_cholesky_solve_helper",
        "_linalg_solve_ex",
        "cholesky_solve",
        "linalg_householder_product",
        "linalg_ldl_solve",
        "linalg_lstsq",
        "linalg_lu_solve",
        "linalg_solve_triangular",
        "ormqr",
        "triangular_solve",
    }
)


def is_solver(name: str) -> bool:
    """Whether an operator multiplies one tensor by another, or by its inverse, step by step.

    No convention counts it, whether or not one of the tensors is stored.
    """
    return name in _SOLVERS


def has_no_products(operator: Any) -> bool:  # noqa: ANN401 - an operator's overload has no public type
    """Whether an operator is known to compute no product of two tensors' axes."""
    name = operator._schema.name.removeprefix("aten::")
    is_elementwise = torch.Tag.pointwise in operator.tags
    return (
        is_elementwise
        or name in _WITHOUT_PRODUCTS
        or name.rstrip("_") in _WITHOUT_PRODUCTS
    )
