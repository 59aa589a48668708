"""Count the cost of a TorchScript module by one run that sees every operator call.

Branches are counted where they are taken, and loops as often as they run.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.jit._fuser import optimized_execution
from torch.jit._script import RecursiveScriptModule

from convpress.refusal import Code, Refusal
from convpress.shapes import FIELD, format_shape
from worker.engine.formats.aten.errors import TORCH_ERRORS, message_of, require_memory
from worker.engine.formats.aten.layers import TensorKey, tensor_key
from worker.engine.formats.aten.outputs import named_leaves
from worker.engine.formats.aten.tally import (
    DoesNotRunError,
    profile_of,
    stored_keys,
    with_weight_macs,
    without_data,
    without_fused_kernels,
)
from worker.engine.formats.aten.trace import Account, Trace
from worker.engine.formats.aten.value_sizes import ValueSizes
from worker.engine.formats.torchscript import compiler
from worker.engine.formats.torchscript.file import load
from worker.engine.formats.torchscript.graph import nodes
from worker.engine.formats.torchscript.method import Method
from worker.engine.formats.torchscript.preparation.prepare import methods_to_count
from worker.engine.formats.torchscript.signature import arguments, own_dtype
from worker.engine.formats.torchscript.sites import sites_of
from worker.engine.model import CostProfile, TensorSpec
from worker.engine.numerics.random_inputs import random_inputs

_WITHOUT_DATA = "meta"
"""The device of tensors without data: what runs there has no sizes that depend on values."""
_TO_LIST = "prim::tolist"
# what `torch.nn.utils.parametrize` raises in a scripted module
_PARAMETRISED = "Parametrization is not working with scripting"


def count(
    path: Path, inputs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]
) -> CostProfile:
    """Count the module at `path` on inputs of these shapes.

    It is run without data (on torch's `meta` device) where that is possible, else on random inputs:
    where its control flow depends on data, for example.

    Raises:
        Refusal: `input_shape_mismatch` where the module cannot take these shapes,
            `model_unsupported` where torch wrote one that raises on all of them.
    """
    bare = without_data(inputs, shapes)
    stated = {spec.name for spec in inputs if spec.is_stated(shapes[spec.name])}
    try:
        return _count(path, _WITHOUT_DATA, bare, stated)
    except TORCH_ERRORS:
        pass  # it may need data: what fails with data as well is refused below
    arrays = random_inputs(inputs, shapes)
    try:
        tensors = {name: torch.from_numpy(each) for name, each in arrays.items()}
        return _count(path, "cpu", tensors, stated)
    except DoesNotRunError as error:
        if _PARAMETRISED in str(error):
            raise Refusal(
                Code.MODEL_UNSUPPORTED,
                "it was scripted with a parametrisation, such as weight_norm, and torch itself "
                f"cannot run it: {error}",
                field="model",
                expected="the model traced, or scripted after "
                "torch.nn.utils.parametrize.remove_parametrizations",
            ) from error
        raise Refusal(
            Code.INPUT_SHAPE_MISMATCH,
            f"the model cannot be run on this input shape: {error}",
            field=FIELD,
            expected="a shape it can take",
            got=",".join(
                f"{name}={format_shape(shape)}" for name, shape in shapes.items()
            ),
        ) from error


def _count(
    path: Path, device: str, tensors: Mapping[str, Tensor], stated: Set[str]
) -> CostProfile:
    module = load(path, device)
    methods = methods_to_count(module)
    sites = sites_of(methods)
    stored = module.state_dict(keep_vars=True)
    paths = {tensor_key(tensor): path for path, tensor in stored.items()}
    keys = stored_keys(sites, paths)
    sizes = None
    if device != _WITHOUT_DATA:
        # stated values are bound to an input as a shape is
        others = [tensors[name] for name in tensors.keys() - stated]
        sizes = _value_sizes(methods, others)
    account, result = _run(module, tensors, keys, sizes)
    profile = profile_of(account, sites, paths)
    if sizes is not None:
        outputs = dict(named_leaves(result, "output")).items()
        names = [name for name, output in outputs if sizes.decide(output)]
        profile = replace(profile, sized_outputs=frozenset(names))
    if not any(method.superseded for method in methods):
        return profile
    as_written = _macs_as_written(path, device, tensors)
    alone = as_written - account.matrix_macs
    return with_weight_macs(profile, alone)


def _value_sizes(methods: Sequence[Method], tensors: Sequence[Tensor]) -> ValueSizes:
    """Return the follower of the inputs' values. No trace sees `tolist` read them."""
    kinds: set[str] = set()
    for method in methods:
        kinds.update(node.kind() for node in nodes(method.graph))
    return ValueSizes(tensors, were_read=_TO_LIST in kinds)


def _macs_as_written(path: Path, device: str, tensors: Mapping[str, Tensor]) -> int:
    """Return the MACs of a run that computes weights from parameters, as the file does.

    Norms of parameters are products with vectors: they are not counted, as other normalisations.
    """
    module = load(path, device)
    methods_to_count(module, computes_weights=False)
    account, _ = _run(module, tensors, set())
    return account.matrix_macs


def _run(
    module: RecursiveScriptModule,
    tensors: Mapping[str, Tensor],
    stored: Set[TensorKey],
    sizes: ValueSizes | None = None,
) -> tuple[Account, Any]:
    """Return the account of a run, and its result."""
    compiler.leave_out()
    trace = Trace(stored, sizes)
    inputs = arguments(module, tensors, own_dtype(module))
    # the optimising executor would call operators that the module does not call
    with without_fused_kernels(), optimized_execution(False), trace:
        try:
            result = module.eval()(**inputs)
        except TORCH_ERRORS as error:
            cause = trace.failure or error
            require_memory(cause)
            raise DoesNotRunError(message_of(cause)) from error
    return trace.account, result
