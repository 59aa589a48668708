"""The inputs and outputs of a TorchScript module: the tensors of its `forward` method, by name.

The file says which arguments are tensors, but not their sizes and types: those are read from the
operators that take them, as far as possible.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch._C import Value
from torch.jit._script import RecursiveScriptModule

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from convpress.shapes import InputShapes
from worker.engine.formats.torchscript.input_types import input_type
from worker.engine.formats.torchscript.layers import LayerNode
from worker.engine.formats.torchscript.method import Method
from worker.engine.model import NUMBER, TensorSpec


def inputs(forward: Method, layers: Sequence[LayerNode]) -> tuple[TensorSpec, ...]:
    """Return the tensors that `forward` takes, and its whole numbers without a default.

    A list of tensors is one input whose first axis counts the items. Other arguments keep their
    defaults. A size that nothing tells is None. `layers` are the layers of `forward`: a convolution
    that takes an input as it comes tells its number of axes and its channels.

    Raises:
        Refusal: `model_unsupported` where it needs something else, or takes no tensor at all.
    """
    _, *arguments = _schema(forward.module).arguments
    _, *values = forward.graph.inputs()
    specs, others = [], []
    pairs = zip(arguments, values, strict=True)
    for argument, value in pairs:
        kind = argument.type.kind()
        name = argument.name
        if kind == "TensorType":
            specs.append(_tensor(name, value, forward, layers))
        elif is_list_of_tensors(argument.type):
            dtype = array_dtype(forward.module)
            specs.append(TensorSpec(name, dtype, None))
        elif argument.has_default_value():
            continue
        elif kind == "IntType":
            specs.append(TensorSpec(name, NUMBER, None))
        else:
            others.append(f"{name}: {argument.type}")
    if others or all(spec.dtype == NUMBER for spec in specs):
        raise Refusal(
            Code.MODEL_UNSUPPORTED,
            "the model's forward method has an argument of an unsupported type",
            field=FIELD,
            expected="tensors, lists of tensors, whole numbers, and other arguments only with "
            "defaults",
            got=", ".join(others)[:200] or "no tensor",
        )
    return tuple(specs)


def without_batch(
    specs: Sequence[TensorSpec], shapes: InputShapes | None
) -> tuple[TensorSpec, ...]:
    """Return the inputs, without a first axis where the user's shape has one axis less.

    torch's convolutions also take one sample alone, without the axis of a batch.
    """
    return tuple(
        _without_batch(spec, _stated_shape(spec, specs, shapes)) for spec in specs
    )


def _stated_shape(
    spec: TensorSpec, specs: Sequence[TensorSpec], shapes: InputShapes | None
) -> Sequence[int] | None:
    """Return the shape that the user states for an input.

    A shape without a name is that of the only input.
    """
    stated = shapes or {}
    return stated.get(spec.name, stated.get("") if len(specs) == 1 else None)


def _without_batch(spec: TensorSpec, shape: Sequence[int] | None) -> TensorSpec:
    """Return an input without its first axis, where the shape is that of one sample."""
    if not spec.shape or shape is None or len(shape) != len(spec.shape) - 1:
        return spec
    sample = spec.shape[1:]
    fits = all(own in (None, size) for own, size in zip(sample, shape, strict=True))
    return replace(spec, shape=sample) if fits else spec


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
    """Return the outputs of `forward`, as far as its type tells, with a runner's names."""
    dtype = array_dtype(module)
    result, *_ = _schema(module).returns
    names = _names(result.type, "output")
    return tuple(TensorSpec(name, dtype, None) for name in names)


def own_dtype(module: RecursiveScriptModule) -> torch.dtype:
    """Return the dtype that the module computes in: that of its first floating-point tensor.

    Complex tensors tell it only where there are no others: filters of a spectrum are such.
    """
    method = module._c._get_method("forward")
    forward = Method(module, "", method.graph, set())
    stored = forward.constant_tensors()
    tensors = chain(module.parameters(), module.buffers(), stored)
    dtypes = [tensor.dtype for tensor in tensors if _has_fractions(tensor)]
    real = [dtype for dtype in dtypes if dtype.is_floating_point]
    return next(iter((*real, *dtypes)), torch.float32)


Argument = Tensor | int | list[Tensor]
"""What `forward` takes in the place of an input."""


def is_list_of_tensors(kind: Any) -> bool:  # noqa: ANN401 - not in torch's stubs
    """Return whether a type is that of lists of tensors, as torchvision's detectors take them."""
    return bool(
        kind.kind() == "ListType" and kind.getElementType().kind() == "TensorType"
    )


def arguments(
    module: RecursiveScriptModule, tensors: Mapping[str, Tensor], dtype: torch.dtype
) -> dict[str, Argument]:
    """Return inputs as `forward` takes them: in the module's own dtype, numbers and lists as such.

    Complex tensors stay as they are where the module computes with real ones, and the reverse.
    """
    declared = _schema(module).arguments
    kinds = {argument.name: argument.type for argument in declared}
    values: dict[str, Argument] = {}
    for name, tensor in tensors.items():
        kind = kinds[name]
        if kind.kind() == "IntType":
            values[name] = int(tensor)
            continue
        is_other = tensor.is_complex() != dtype.is_complex
        keeps_type = is_other or not _has_fractions(tensor)
        exact = tensor if keeps_type else tensor.to(dtype)
        values[name] = [*exact.unbind()] if is_list_of_tensors(kind) else exact
    return values


def array_dtype(module: RecursiveScriptModule) -> str:
    """Return the dtype of the arrays that a caller passes and gets; numpy has no bfloat16."""
    dtype = own_dtype(module)
    if dtype is torch.bfloat16:
        return "float32"
    return str(dtype).removeprefix("torch.")


def _schema(module: RecursiveScriptModule) -> Any:  # noqa: ANN401 - not in torch's stubs
    """Return the declaration of `forward`, whose first argument is the module itself."""
    return module._c._get_method("forward").schema


def _has_fractions(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _tensor(
    name: str, value: Value, forward: Method, layers: Sequence[LayerNode]
) -> TensorSpec:
    """Return an input that is a tensor, with what the operators that take it tell of it."""
    known = input_type(value, forward)
    if known is not None:
        return TensorSpec(name, known.dtype, None, known.rows, known.leaves_out)
    return TensorSpec(name, array_dtype(forward.module), _shape(value, forward, layers))


def _shape(
    value: Value, forward: Method, layers: Sequence[LayerNode]
) -> tuple[int | None, ...] | None:
    """Return the shape of an input that a convolution takes as it comes, on every path."""
    # A convolution inside a branch or loop may never run, so it fixes nothing.
    body = forward.graph.block()
    takers = [use.user for use in value.uses() if use.offset == 0]
    always = [node for node in takers if node.owningBlock() == body]
    for layer in layers:
        convolution = layer.convolution
        if convolution is not None and convolution.kernel and layer.node in always:
            free = [None for _ in convolution.kernel]
            return None, convolution.in_channels, *free
    return None


def _names(kind: Any, name: str) -> Iterator[str]:  # noqa: ANN401 - torch names no common type of its types
    if kind.kind() == "TupleType":
        for index, element in enumerate(kind.elements()):
            yield from _names(element, f"{name}_{index}")
    else:
        yield name
