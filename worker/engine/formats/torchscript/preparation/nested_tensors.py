"""Let encoders compute on padded tensors, whose layers can be replaced, rather than nested ones.

With a padding mask `nn.TransformerEncoder` packs its input into a nested tensor on its fast path.
On its slow path, which also serves gradients, it masks the padding instead. The outputs are the
same but for the padded positions. Those are 0 where a trace has packed its input, and stay so.
"""

from typing import Any

from torch._C import Graph, Node, Value

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.torchscript.graph import nodes

_ASKS = "aten::_nested_tensor_from_mask_left_aligned"
_PACKS = "aten::_nested_tensor_from_mask"
_LAYER = "aten::_transformer_encoder_layer_fwd"
_UNPACKS = "aten::to_padded_tensor"
_MASK, _MASK_TYPE = 18, 19
"""Positions of arguments of an encoder layer."""
_PADDING = 1
"""The type of a mask with one row a sample, which is true where a position is left out."""


def take_padded_path(graph: Any) -> None:  # noqa: ANN401 - torch's stubs lack some of its methods
    """Settle the question whether an input can be packed: it is not."""
    for node in list(nodes(graph)):
        if node.kind() == _ASKS:
            constant = graph.insertConstant(False)
            constant.node().moveBefore(node)
            node.output().replaceAllUsesWith(constant)
            node.destroy()


def mask_padding(graph: Any) -> None:  # noqa: ANN401 - not in torch's stubs
    """Let encoder layers that a trace has seen on a packed input mask its padding instead.

    Call it while their operators are fused. An input that anything else takes stays
    packed.
    """
    packing = [node for node in nodes(graph) if node.kind() == _PACKS]
    for node in packing:
        output = node.output()
        layers = _layers_of(output)
        if layers is None:
            continue
        data, keeps, _ = node.inputs()
        graph.setInsertPoint(node)
        padding = graph.insert("aten::logical_not", [keeps])
        kind = graph.insertConstant(_PADDING)
        graph.setInsertPoint(graph.block())
        for layer in layers:
            layer.replaceInput(_MASK, padding)
            layer.replaceInput(_MASK_TYPE, kind)
        last = layers[-1].output()
        for use in last.uses():
            _fill_padding(graph, use.user, padding)
        output.replaceAllUsesWith(data)
        node.destroy()


def _layers_of(packed: Value) -> list[Node] | None:
    """Return the layers without masks that take a packed value in turn; None for other uses."""
    layers: list[Node] = []
    while True:
        users = [use.user for use in packed.uses()]
        if layers and users and all(user.kind() == _UNPACKS for user in users):
            return layers
        if len(users) != 1 or users[0].kind() != _LAYER:
            return None
        [layer] = users
        mask = layer.inputsAt(_MASK)
        if not mask.node().mustBeNone():
            return None
        layers.append(layer)
        packed = layer.output()


def _fill_padding(graph: Any, node: Node, padding: Value) -> None:  # noqa: ANN401 - as above
    """Put the fill value of a node that unpacks into the padded positions, in its place."""
    graph.setInsertPoint(node)
    last = graph.insertConstant(-1)
    rows = graph.insert("aten::unsqueeze", [padding, last])
    filled = graph.insert(
        "aten::masked_fill", [node.inputsAt(0), rows, node.inputsAt(1)]
    )
    graph.setInsertPoint(graph.block())
    node.output().replaceAllUsesWith(filled)
    node.destroy()


def require_none(graph: Graph) -> None:
    """Check that nothing is packed at every run.

    Raises:
        Refusal: `model_unsupported`.
    """
    # in a branch it never runs: whatever asks for it was settled
    if any(node.kind() == _PACKS for node in graph.nodes()):
        raise Refusal(
            Code.MODEL_UNSUPPORTED,
            "the model packs its input into a nested tensor",
            field=FIELD,
            expected="nn.TransformerEncoder with enable_nested_tensor=False, traced or scripted",
            got=_PACKS.removeprefix("aten::"),
        )
