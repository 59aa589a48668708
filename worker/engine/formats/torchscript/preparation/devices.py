"""Run a module that was made on another device: constants of its graphs name that device."""

from typing import Any

import torch
from torch._C import Graph
from torch.jit._script import RecursiveScriptModule

from worker.engine.formats.torchscript.graph import literal, nodes
from worker.engine.formats.torchscript.method import inlined_methods

_PROCESSOR = torch.device("cpu")


def run_on_processor(module: RecursiveScriptModule) -> None:
    """Let a module that was not run yet create its tensors on the processor, all others stay.

    A module that names no other device keeps its graphs as they are.
    """
    for name in module._c._method_names():
        if _names_device(module._c._get_method(name).inlined_graph):
            for method in inlined_methods(module):
                move_to_processor(method.graph)
            return


def move_to_processor(graph: Any) -> None:  # noqa: ANN401 - torch's stubs lack some of its methods
    """Replace other devices in a graph by the processor."""
    all_nodes_now = list(nodes(graph))
    for node in all_nodes_now:
        kind = node.kind()
        if kind == "prim::Constant" and _is_other(literal(node.output())):
            constant = graph.insertConstant(_PROCESSOR)
            constant.node().moveBefore(node)
            node.output().replaceAllUsesWith(constant)
        elif kind == "aten::cuda":
            node.output().replaceAllUsesWith(node.inputsAt(0))
            node.destroy()


def _names_device(graph: Graph) -> bool:
    return any(
        node.kind() == "aten::cuda"
        or (node.kind() == "prim::Constant" and _is_other(literal(node.output())))
        for node in nodes(graph)
    )


def _is_other(content: object) -> bool:
    return isinstance(content, torch.device) and content.type not in ("cpu", "meta")
