"""What a TorchScript module takes and gives: the tensors of its `forward` method, by name.

The file says which arguments are tensors, but not their sizes and types; what can be told of these is read from the
operators that take them.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch._C import Value
from torch.jit._script import RecursiveScriptModule

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.torchscript.graph import Scope
from worker.engine.formats.torchscript.layers import Use
from worker.engine.model import NUMBER, TensorSpec

_TAKES_INDICES = {("aten::embedding", 1), ("aten::embedding_bag", 1), ("aten::one_hot", 0)}


def inputs(forward: Scope, uses: Sequence[Use]) -> tuple[TensorSpec, ...]:
    """Return the tensors that `forward` takes, and its whole numbers without a default; other arguments keep theirs.

    `uses` are its convolutions: one that takes an input as it comes tells its number of axes and its channels.

    Raises:
        Refusal: `model_unsupported` where it needs something else, or takes no tensor at all.
    """
    arguments = forward.module._c._get_method("forward").schema.arguments[1:]
    values = list(forward.graph.inputs())[1:]
    found, others = [], []
    for argument, value in zip(arguments, values, strict=True):
        if argument.type.kind() == "TensorType":
            found.append(
                TensorSpec(
                    argument.name, _dtype(value, forward.module), _shape(value, forward, uses)
                )
            )
        elif argument.type.kind() == "IntType" and not argument.has_default_value():
            found.append(TensorSpec(argument.name, NUMBER, None))
        elif not argument.has_default_value():
            others.append(f"{argument.name}: {argument.type}")
    if others or all(spec.dtype == NUMBER for spec in found):
        raise Refusal(
            Code.MODEL_UNSUPPORTED,
            "the model's forward method takes something that cannot be given",
            field=FIELD,
            expected="tensors, whole numbers, and other arguments only with defaults",
            got=", ".join(others)[:200] or "no tensor",
        )
    return tuple(found)


def require_forward(module: RecursiveScriptModule) -> None:
    """Check that there is a `forward` method to call.

    Raises:
        Refusal: `model_unsupported`.
    """
    methods = module._c._method_names()
    if "forward" not in methods:
        raise Refusal(
            Code.MODEL_UNSUPPORTED,
            "the module has no forward method",
            field=FIELD,
            expected="a method called forward",
            got=", ".join(methods) or "no methods",
        )


def outputs(module: RecursiveScriptModule) -> tuple[TensorSpec, ...]:
    """Return the tensors that `forward` gives, named as a runner names them, as far as its type tells."""
    dtype = array_dtype(module)
    returns = module._c._get_method("forward").schema.returns
    return tuple(TensorSpec(name, dtype, None) for name in _names(returns[0].type, "output"))


def own_dtype(module: RecursiveScriptModule) -> torch.dtype:
    """Return the type that the module computes in: that of its first parameter, buffer or constant with fractions."""
    forward = Scope(module, "", module._c._get_method("forward").graph, set())
    tensors = chain(module.parameters(), module.buffers(), forward.constants())
    return next((tensor.dtype for tensor in tensors if _has_fractions(tensor)), torch.float32)


def arguments(
    module: RecursiveScriptModule, tensors: Mapping[str, Tensor], dtype: torch.dtype
) -> dict[str, Tensor | int]:
    """Return inputs as `forward` takes them: in the type that the module computes in, and numbers as numbers."""
    schema = module._c._get_method("forward").schema.arguments
    numbers = {argument.name for argument in schema if argument.type.kind() == "IntType"}
    return {
        name: int(tensor)
        if name in numbers
        else tensor.to(dtype)
        if _has_fractions(tensor)
        else tensor
        for name, tensor in tensors.items()
    }


def array_dtype(module: RecursiveScriptModule) -> str:
    """Return the type of the arrays that a caller passes and gets; numpy has no bfloat16."""
    dtype = own_dtype(module)
    return "float32" if dtype is torch.bfloat16 else str(dtype).removeprefix("torch.")


def _has_fractions(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _dtype(value: Value, module: RecursiveScriptModule) -> str:
    indices = any((use.user.kind(), use.offset) in _TAKES_INDICES for use in value.uses())
    return "int64" if indices else array_dtype(module)


def _shape(value: Value, forward: Scope, uses: Sequence[Use]) -> tuple[int | None, ...] | None:
    """A convolution that takes the input as it comes, on every path, fixes its axes and its channels."""
    body = forward.graph.block()
    takers = [
        taker.user
        for taker in value.uses()
        if taker.offset == 0 and taker.user.owningBlock() == body
    ]
    for use in uses:
        if use.convolution is not None and use.convolution.kernel and use.node in takers:
            return None, use.convolution.in_channels, *(None for _ in use.convolution.kernel)
    return None


def _names(kind: Any, name: str) -> Iterator[str]:  # noqa: ANN401 - torch names no common type of its types
    if kind.kind() == "TupleType":
        for index, element in enumerate(kind.elements()):
            yield from _names(element, f"{name}_{index}")
    else:
        yield name
