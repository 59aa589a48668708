"""Weights of layers by which other operators multiply too, such as an einsum.

A run does not tell these products from those of the layers of the same weight: both multiply by one
tensor. So the layers stay as they are too.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

import torch

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
        *("inner", "linalg_matmul", "linalg_multi_dot", "linalg_vecdot", "mv"),
        *("tensordot", "vdot"),
        *("gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell"),
        *("rnn_tanh", "rnn_tanh_cell", "scaled_dot_product_attention", "_grouped_mm"),
    )
)
# They may pass a tensor's memory on, and their schemas do not say so.
_PASSES_ON = frozenset(
    {
        "getitem",
        "prim::ListConstruct",
        "prim::ListUnpack",
        "prim::unchecked_cast",
        *(
            f"aten::{name}"
            for name in (
                *("_unsafe_view", "atleast_1d", "atleast_2d", "atleast_3d"),
                *("broadcast_tensors", "type_as", "unsafe_chunk", "unsafe_split"),
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
        if _passes_on(kind(value)):
            waiting += inputs(value)
            continue
        tensor = content(value)
        if is_stored(tensor) and tensor.dim() >= _LEAST_AXES:
            yield tensor_key(tensor)


@cache
def _passes_on(kind: str) -> bool:
    """Whether what an operator returns may be a view of its first operand."""
    if kind in _PASSES_ON:
        return True
    # a placeholder of an exported program is no operator
    if "::" not in kind:
        return False
    # torch's stubs lack schemas
    schemas: list[Any] = torch._C._jit_get_schemas_for_operator(kind)
    return any(_is_view(schema) for schema in schemas)


def _is_view(schema: Any) -> bool:  # noqa: ANN401 - as above
    """Whether an operator returns memory of its first operand, and does not write it."""
    if not schema.arguments or not schema.returns:
        return False
    operand, result = schema.arguments[0].alias_info, schema.returns[0].alias_info
    return operand is not None and result is not None and not operand.is_write
