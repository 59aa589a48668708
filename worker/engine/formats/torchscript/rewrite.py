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
            raise ValueError(
                f"TorchScript pads by numbers, not by the rule {padding!r}"
            )
        is_uneven = any(before != behind for before, behind in padding)
        if is_uneven:
            zeros = _zeros_around(layer.convolution, padding)
            modules.append(zeros)
            padding = ((0, 0),) * len(padding)
        inside = tuple(before for before, _ in padding)
        module = _module(layer, inside, like)
        modules.append(module)
    return nn.Sequential(*modules)


def add_submodule(
    root: RecursiveScriptModule, name: str, module: nn.Module
) -> RecursiveScriptModule:
    """Compile `module`, make it a submodule of the root and return it.

    Only the root can be the owner: modules of one type share their code and their attributes, and
    the root is the only one of its type.
    """
    in_training = getattr(root, "training", False)  # a frozen module has no such mode
    module.train(in_training)
    scripted = torch.jit.script(module)
    kind = scripted._c._type()
    root._c._register_attribute(name, kind, scripted._c)
    return scripted


def replace_node(
    layer: LayerNode, modules: Mapping[str, RecursiveScriptModule]
) -> None:
    """Replace a node by the sum of the outputs of modules, submodules of the root by name."""
    node = layer.node
    (name, module), *others = modules.items()
    total = _module_call(layer, name, module)
    for name, module in others:
        output = _module_call(layer, name, module)
        total = _sum(layer, total, output)
    node.output().replaceAllUsesWith(total)
    node.destroy()


def _module_call(layer: LayerNode, name: str, module: RecursiveScriptModule) -> Value:
    """Call a submodule of the root on a layer's data, ahead of the layer's node."""
    root = layer.method.self_value
    read = _node_ahead(layer, "prim::GetAttr", [root])
    read.s_("name", name)
    owner = read.output()
    kind = module._c._type()
    owner.setType(kind)
    data = layer.node.inputsAt(layer.data)
    call = _node_ahead(layer, "prim::CallMethod", [owner, data])
    call.s_("name", "forward")
    return _like_output(call, layer)


def _sum(layer: LayerNode, one: Value, other: Value) -> Value:
    """Add two values ahead of a layer's node."""
    graph: Any = layer.method.graph  # torch's stubs lack some of its methods
    scale = graph.insertConstant(1)
    scale.node().moveBefore(layer.node)
    addition = _node_ahead(layer, "aten::add", [one, other, scale])
    return _like_output(addition, layer)


def _like_output(node: Node, layer: LayerNode) -> Value:
    """Return the output of a new node, with the type of the layer's output."""
    output = node.output()
    kind = layer.node.output().type()
    output.setType(kind)
    return output


def _node_ahead(layer: LayerNode, kind: str, inputs: list[Value]) -> Node:
    """Insert a node of one output ahead of a layer's node."""
    node: Node = layer.method.graph.create(kind, inputs, 1)
    return node.insertBefore(layer.node)


def clean_up(graph: Graph) -> None:
    """Inline the calls of new modules, drop nodes without effect, and check the graph."""
    torch._C._jit_pass_inline(graph)
    torch._C._jit_pass_dce(graph)
    torch._C._jit_pass_lint(graph)


def empty_weight(root: RecursiveScriptModule, path: str) -> None:
    """Take the elements from a weight that nothing reads; its name is part of the module's type."""
    owner = attribute(root, parent(path))
    _, _, name = path.rpartition(".")
    weight = getattr(owner, name)
    with torch.no_grad():
        owner._c.setattr(name, weight.new_empty(0))


def _zeros_around(
    convolution: Convolution, padding: Sequence[tuple[int, int]]
) -> nn.Module:
    if convolution.transposed:
        raise ValueError(
            f"TorchScript crops both ends of an axis alike, not by {padding}"
        )
    ends: list[int] = []
    for pair in reversed(padding):  # torch counts the axes from the last
        ends += pair
    axes = len(padding)
    return cast(nn.Module, _PAD[axes](tuple(ends), 0.0))


def _module(layer: Layer, padding: tuple[int, ...], like: Tensor) -> nn.Module:
    has_bias = layer.bias is not None
    module = _without_weights(layer.convolution, padding, has_bias)
    module.weight = _parameter(layer.weight, like)
    if layer.bias is not None:
        module.bias = _parameter(layer.bias, like)
    return module


def _without_weights(
    geometry: Convolution, padding: tuple[int, ...], has_bias: bool
) -> nn.Module:
    """Return a module of this geometry on the `meta` device.

    Its weights come later: nothing is drawn at random.
    """
    channels = geometry.in_channels, geometry.out_channels
    settings: dict[str, Any] = {"bias": has_bias, "device": "meta"}
    axes = len(geometry.kernel)
    if not axes:
        return nn.Linear(*channels, **settings)
    settings |= {
        "stride": geometry.stride,
        "padding": padding,
        "dilation": geometry.dilation,
        "groups": geometry.groups,
    }
    kind = _CONV[axes]
    if geometry.transposed:
        kind = _TRANSPOSED[axes]
        settings["output_padding"] = geometry.output_padding
    return cast(nn.Module, kind(*channels, geometry.kernel, **settings))


def _parameter(values: Array, like: Tensor) -> nn.Parameter:
    contiguous = np.ascontiguousarray(values)
    tensor = torch.from_numpy(contiguous).to(like.dtype)
    return nn.Parameter(tensor, requires_grad=like.requires_grad)
