"""The graft: chains of layers, each a module of its own, their sum in the place of the nodes that called a layer."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch._C import Graph, Node, Value
from torch.jit._script import RecursiveScriptModule

from worker.engine.formats.torchscript.graph import attribute, parent
from worker.engine.formats.torchscript.layers import Use
from worker.engine.numerics.convolution import Array, Convolution, Layer

# torch types each axis count apart; here they are one family
_CONV: Any = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: Any = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_PAD: Any = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}


def chain(layers: Sequence[Layer], like: Tensor) -> nn.Sequential:
    """Return the layers as torch modules, of the dtype of the weight that they stand for, trainable if it is.

    Padding that differs before and behind an axis becomes a module of zeros in front of its convolution.
    """
    steps: list[nn.Module] = []
    for layer in layers:
        padding = layer.convolution.padding
        if isinstance(padding, str):
            raise ValueError(f"TorchScript pads by numbers, not by the rule {padding!r}")
        if any(before != behind for before, behind in padding):
            ends = tuple(
                size for pair in reversed(padding) for size in pair
            )  # torch counts the axes from the last
            if layer.convolution.transposed:
                raise ValueError(
                    f"TorchScript crops what is transposed alike at both ends, not by {padding}"
                )
            steps.append(_PAD[len(padding)](ends, 0.0))
            padding = ((0, 0),) * len(padding)
        module = _bare(
            layer.convolution, tuple(before for before, _ in padding), layer.bias is not None
        )
        module.weight = _parameter(layer.weight, like)
        if layer.bias is not None:
            module.bias = _parameter(layer.bias, like)
        steps.append(module)
    return nn.Sequential(*steps)


def hang(root: RecursiveScriptModule, name: str, module: nn.Module) -> RecursiveScriptModule:
    """Make `module` a submodule of the root, whose Python class nobody has, and return it as it hangs there.

    Only the root can be the host: modules of one type share their code and their slots, and the root is one of a kind.
    """
    in_training = getattr(root, "training", False)  # a frozen module has no such mode
    scripted = torch.jit.script(module.train(in_training))
    root._c._register_attribute(name, scripted._c._type(), scripted._c)
    return scripted


def call_instead(use: Use, grafts: Mapping[str, RecursiveScriptModule]) -> None:
    """Put the sum of what the grafts give that hang on the root under these names in the place of a node."""
    graph, node = use.scope.graph, use.node
    total: Value | None = None
    for name, graft in grafts.items():
        read = graph.create("prim::GetAttr", [use.scope.self_value], 1).insertBefore(node)
        read.s_("name", name)
        module = read.output()
        module.setType(graft._c._type())
        call = graph.create("prim::CallMethod", [module, node.inputsAt(use.data)], 1).insertBefore(
            node
        )
        call.s_("name", "forward")
        given = call.output()
        given.setType(node.output().type())
        total = given if total is None else _sum(graph, node, total, given)
    assert total is not None  # there is always one
    node.output().replaceAllUsesWith(total)
    node.destroy()


def _sum(graph: Any, node: Node, one: Value, other: Value) -> Value:  # noqa: ANN401 - torch does not type all of it
    """Return the sum of two values, made ahead of a node."""
    once = graph.insertConstant(1)
    once.node().moveBefore(node)
    added: Node = graph.create("aten::add", [one, other, once], 1).insertBefore(node)
    added.output().setType(node.output().type())
    return added.output()


def tidy(graph: Graph) -> None:
    """Inline the grafts, drop what nothing uses any more and check the graph."""
    torch._C._jit_pass_inline(graph)
    torch._C._jit_pass_dce(graph)
    torch._C._jit_pass_lint(graph)


def empty(root: RecursiveScriptModule, path: str) -> None:
    """Give a weight that nothing reads no elements; its name cannot be taken out of the module's type."""
    owner = attribute(root, parent(path))
    old = getattr(owner, path.rpartition(".")[2])
    with torch.no_grad():
        owner._c.setattr(path.rpartition(".")[2], old.new_empty(0))


def _bare(geometry: Convolution, padding: tuple[int, ...], has_bias: bool) -> nn.Module:
    """Return a module of this geometry on the `meta` device: its weights come later, nothing is drawn at random."""
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
