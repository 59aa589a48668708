"""Make the graphs of a module ready to be counted and rewritten."""

from typing import Any

import torch
from torch.jit._script import RecursiveScriptModule

from worker.engine.formats.torchscript.method import Method, inlined_methods
from worker.engine.formats.torchscript.preparation import (
    devices,
    enumerations,
    fused_attention,
    identities,
    nested_tensors,
    parameters_alone,
    raising_branches,
    split_sizes,
)
from worker.engine.formats.torchscript.preparation.parameters_alone import Computed

_C: Any = torch._C  # most of these functions are missing from torch's stubs


def prepared_methods(
    module: RecursiveScriptModule, *, computes_weights: bool = True
) -> tuple[list[Method], list[Computed]]:
    """Return the methods of a root module that was not run yet, with their graphs made plain.

    The graphs are live: a run of the module runs them, and saving it saves them. They compute what
    they did. What nothing needs is left out, so that the layers of a graph are those that run. The
    constants that stand for computed weights can be taken back; without `computes_weights` there
    are none.

    Raises:
        Refusal: `model_unsupported` for nested tensors.
    """
    methods = inlined_methods(module)
    for method in methods:
        nested_tensors.mask_padding(method.graph)
        fused_attention.write_out(method.graph)
        nested_tensors.take_padded_path(method.graph)
        enumerations.settle(method)
        while identities.settle(method.graph):
            _C._jit_pass_constant_propagation_immutable_types(method.graph)
        raising_branches.settle(method.graph)
        split_sizes.settle(method)
        _C._jit_pass_constant_propagation_immutable_types(method.graph)
        _C._jit_pass_dce(method.graph)
        nested_tensors.require_none(method.graph)
    computed = parameters_alone.compute(methods) if computes_weights else []
    for method in methods:
        _C._jit_pass_lint(method.graph)
    return methods, computed


def methods_to_count(
    module: RecursiveScriptModule, *, computes_weights: bool = True
) -> list[Method]:
    """Return the methods of a module that will be run to be counted, and not be saved.

    What computes weights from parameters is left out, unless it is to stay.
    """
    methods, _ = prepared_methods(module, computes_weights=computes_weights)
    for method in methods:
        devices.move_to_processor(method.graph)
        _C._jit_pass_dce(method.graph)
    return methods
