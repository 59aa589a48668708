"""Rewrite a TorchScript module: a layer's nodes become calls of new submodules, added up."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch._C import Graph, Node, Value
from torch.jit._script import RecursiveScriptModule

from worker.engine.formats.torchscript.layers import LayerNode
from worker.engine.formats.torchscript.method import attribute, parent
from worker.engine.numerics.convolution import Array, Convolution, Layer

# torch types each number of axes apart; here they are one family
_CONV: Any = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: Any = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_PAD: Any = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}


def chain_module(layers: Sequence[Layer], like: Tensor) -> nn.Sequential:
    """Return the layers as torch modules, with the dtype of `like`, trainable if it is.

    Padding that differs before and behind an axis becomes a module of zeros in front of its
    convolution.
    """
    modules: list[nn.Module] = []
    for layer in layers:
        padding = layer.convolution.padding
        if isinstance(padding, str):
            raise ValueError(f"TorchScript pads by numbers, not by the rule {padding!r}")
        if any(before != behind for before, behind in padding):
            modules.append(_zeros_around(layer.convolution, padding))
            padding = ((0, 0),) * len(padding)
        modules.append(_module(layer, tuple(before for before, _ in padding), like))
    return nn.Sequential(*modules)


def add_submodule(
    root: RecursiveScriptModule, name: str, module: nn.Module
) -> RecursiveScriptModule:
    """Compile `module`, make it a submodule of the root and return it.

    Only the root can be the owner: modules of one type share their code and their attributes, and
    the root is the only one of its type.
    """
    in_training = getattr(root, "training", False)  # a frozen module has no such mode
    scripted = torch.jit.script(module.train(in_training))
    root._c._register_attribute(name, scripted._c._type(), scripted._c)
    return scripted


def replace_node(layer: LayerNode, modules: Mapping[str, RecursiveScriptModule]) -> None:
    """Replace a node by the sum of the outputs of modules, submodules of the root by name."""
    graph, node = layer.method.graph, layer.node
    total: Value | None = None
    for name, module in modules.items():
        output = _module_call(layer, name, module)
        total = output if total is None else _sum(graph, node, total, output)
    assert total is not None  # a site is replaced by one chain at least
    node.output().replaceAllUsesWith(total)
    node.destroy()


def _module_call(layer: LayerNode, name: str, module: RecursiveScriptModule) -> Value:
    """Call a submodule of the root on a layer's data, ahead of the layer's node."""
    graph, node = layer.method.graph, layer.node
    read = graph.create("prim::GetAttr", [layer.method.self_value], 1).insertBefore(node)
    read.s_("name", name)
    owner = read.output()
    owner.setType(module._c._type())
    data = node.inputsAt(layer.data)
    call = graph.create("prim::CallMethod", [owner, data], 1).insertBefore(node)
    call.s_("name", "forward")
    output = call.output()
    output.setType(node.output().type())
    return output


def _sum(graph: Any, node: Node, one: Value, other: Value) -> Value:  # noqa: ANN401 - torch does not type all of it
    """Add two values ahead of a node."""
    scale = graph.insertConstant(1)
    scale.node().moveBefore(node)
    addition: Node = graph.create("aten::add", [one, other, scale], 1).insertBefore(node)
    addition.output().setType(node.output().type())
    return addition.output()


def clean_up(graph: Graph) -> None:
    """Inline the calls of new modules, drop nodes without effect, and check the graph."""
    torch._C._jit_pass_inline(graph)
    torch._C._jit_pass_dce(graph)
    torch._C._jit_pass_lint(graph)


def empty_weight(root: RecursiveScriptModule, path: str) -> None:
    """Take the elements from a weight that nothing reads; its name is part of the module's type."""
    owner, name = attribute(root, parent(path)), path.rpartition(".")[2]
    weight = getattr(owner, name)
    with torch.no_grad():
        owner._c.setattr(name, weight.new_empty(0))


def _zeros_around(convolution: Convolution, padding: Sequence[tuple[int, int]]) -> nn.Module:
    if convolution.transposed:
        raise ValueError(f"TorchScript crops both ends of an axis alike, not by {padding}")
    # torch counts the axes from the last.
    ends = tuple(size for pair in reversed(padding) for size in pair)
    return cast(nn.Module, _PAD[len(padding)](ends, 0.0))


def _module(layer: Layer, padding: tuple[int, ...], like: Tensor) -> nn.Module:
    module = _without_weights(layer.convolution, padding, layer.bias is not None)
    module.weight = _parameter(layer.weight, like)
    if layer.bias is not None:
        module.bias = _parameter(layer.bias, like)
    return module


def _without_weights(geometry: Convolution, padding: tuple[int, ...], has_bias: bool) -> nn.Module:
    """Return a module of this geometry on the `meta` device.

    Its weights come later: nothing is drawn at random.
    """
    channels = geometry.in_channels, geometry.out_channels
    settings: dict[str, Any] = {"bias": has_bias, "device": "meta"}
    axes = len(geometry.kernel)
    if not axes:
        return nn.Linear(*channels, **settings)
    settings |= {"stride": geometry.stride, "padding": padding, "dilation": geometry.dilation}
    settings |= {"groups": geometry.groups}
    if not geometry.transposed:
        return cast(nn.Module, _CONV[axes](*channels, geometry.kernel, **settings))
    settings |= {"output_padding": geometry.output_padding}
    return cast(nn.Module, _TRANSPOSED[axes](*channels, geometry.kernel, **settings))


def _parameter(values: Array, like: Tensor) -> nn.Parameter:
    tensor = torch.from_numpy(np.ascontiguousarray(values)).to(like.dtype)
    return nn.Parameter(tensor, requires_grad=like.requires_grad)
