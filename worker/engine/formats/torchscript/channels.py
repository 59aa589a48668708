"""Cut the normalisations of a TorchScript graph to some of their channels."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch._C import Node, Value
from torch.jit._script import RecursiveScriptModule

from worker.engine.formats.aten.norms import NORMS, VARIANCE
from worker.engine.formats.torchscript.graph import nodes
from worker.engine.formats.torchscript.method import Method

_POSITIONS = range(1, VARIANCE + 1)
"""The positions of weight, bias, mean and variance among the arguments."""


def norm_nodes(method: Method, values: Collection[str]) -> list[Node]:
    """Return the normalisations that give these values of the method's program."""
    return [
        node
        for node in nodes(method.graph)
        if node.kind() in NORMS and f"%{node.outputsAt(0).debugName()}" in values
    ]


def stored_arrays(method: Method, node: Node) -> dict[int, Tensor]:
    """Return the arrays of a normalisation by their positions, without those that are None."""
    arrays = {}
    for position in _POSITIONS:
        content = method.constant(node.inputsAt(position))
        if isinstance(content, Tensor):
            arrays[position] = content
    return arrays


def kept_arrays(
    arrays: dict[int, Tensor], channels: Sequence[int]
) -> RecursiveScriptModule:
    """Return a module that holds some channels of each array, by `array_name` of its position."""
    module = nn.Module()
    for position, array in arrays.items():
        index = torch.tensor(channels, device=array.device)
        kept = array.detach().index_select(0, index)
        name = array_name(position)
        if isinstance(array, nn.Parameter):
            parameter = nn.Parameter(kept, requires_grad=array.requires_grad)
            module.register_parameter(name, parameter)
        else:
            module.register_buffer(name, kept)
    return torch.jit.script(module)


def array_name(position: int) -> str:
    """Return the name of the array at a position.

    >>> array_name(3)
    'mean'
    """
    return ("weight", "bias", "mean", "variance")[position - 1]


def read_instead(
    method: Method, node: Node, name: str, module: RecursiveScriptModule
) -> None:
    """Let a normalisation read the arrays of a submodule of the root, of this name."""
    owner = _read_ahead(method, node, method.self_value, name)
    owner.setType(module._c._type())
    for position in _POSITIONS:
        if hasattr(module, array_name(position)):
            array = _read_ahead(method, node, owner, array_name(position))
            array.setType(node.inputsAt(position).type())
            node.replaceInput(position, array)


def _read_ahead(method: Method, node: Node, owner: Value, name: str) -> Value:
    """Read an attribute ahead of a node."""
    read: Node = method.graph.create("prim::GetAttr", [owner], 1)
    read.s_("name", name)
    read.insertBefore(node)
    return read.output()
