"""Make the graphs of a module ready to be counted and rewritten."""

from typing import Any

import torch
from torch.jit._script import RecursiveScriptModule

from worker.engine.formats.torchscript.method import Method, inlined_methods
from worker.engine.formats.torchscript.preparation import fused_attention, identities

_C: Any = torch._C  # most of these functions are missing from torch's stubs


def prepared_methods(module: RecursiveScriptModule) -> list[Method]:
    """Return the methods of a root module that was not run yet, with their graphs made plain.

    The graphs are live: a run of the module runs them, and saving it saves them. They compute what
    they did. What nothing needs is left out, so that the layers of a graph are those that run.
    """
    methods = inlined_methods(module)
    for method in methods:
        fused_attention.write_out(method.graph)
        identities.settle(method.graph)
        _C._jit_pass_constant_propagation_immutable_types(method.graph)
        _C._jit_pass_dce(method.graph)
        _C._jit_pass_lint(method.graph)
    return methods
