"""Weights that operators multiply by which are no layers, such as an einsum.

A run does not tell these products from those of the layers of the same weight: both multiply by one
tensor. So the layers stay as they are too.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from worker.engine.formats.aten.layers import (
    LAYERS,
    TensorKey,
    is_stored,
    tensor_key,
)

_MULTIPLIERS = LAYERS | frozenset(
    f"aten::{name}"
    for name in (
        *("addbmm", "addbmm_", "addmm_", "addmv", "addmv_", "baddbmm", "baddbmm_"),
        *("bilinear", "bmm", "cdist", "chain_matmul", "conv_tbc", "dot", "einsum"),
        *("inner", "linalg_multi_dot", "linalg_vecdot", "mv", "tensordot", "vdot"),
        *("gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell"),
        *("rnn_tanh", "rnn_tanh_cell", "scaled_dot_product_attention", "_grouped_mm"),
    )
)
_PASSES_ON = frozenset(
    {
        "prim::ListConstruct",
        "prim::ListUnpack",
        "prim::unchecked_cast",
        *(
            f"aten::{name}"
            for name in (
                *("chunk", "contiguous", "detach", "expand", "expand_as", "flatten"),
                *("movedim", "narrow", "numpy_T", "permute", "reshape", "select"),
                *("slice", "split", "squeeze", "swapaxes", "t", "to", "transpose"),
                *("unbind", "unflatten", "unsqueeze", "view", "view_as"),
            )
        ),
    }
)
_LEAST_AXES = 2

Value = TypeVar("Value")
"""A value of a graph, as the format has it."""


def may_multiply(kind: str) -> bool:
    """Whether an operator of this kind multiplies two tensors, as a layer or otherwise."""
    return kind in _MULTIPLIERS


def stored_operands(
    operands: Iterable[Value],
    kind: Callable[[Value], str],
    inputs: Callable[[Value], Iterable[Value]],
    content: Callable[[Value], Any],
) -> Iterator[TensorKey]:
    """Yield the keys of the stored tensors of two axes or more that operands are, or views of.

    `kind` is the kind of the operator that gives a value, `inputs` are that operator's operands.
    `content` is what a value holds at every run.
    """
    waiting = list(operands)
    while waiting:
        value = waiting.pop()
        if kind(value) in _PASSES_ON:
            waiting += inputs(value)
            continue
        tensor = content(value)
        if is_stored(tensor) and tensor.dim() >= _LEAST_AXES:
            yield tensor_key(tensor)
