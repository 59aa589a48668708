"""Let encoders compute on padded tensors, whose layers can be replaced, rather than nested ones.

With a padding mask `nn.TransformerEncoder` packs its input into a nested tensor on its fast path.
On its slow path, which also serves gradients, it masks the padding instead. The outputs are the
same but for the padded positions.
"""

from typing import Any

from torch._C import Graph

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.torchscript.graph import nodes

_ASKS = "aten::_nested_tensor_from_mask_left_aligned"
_PACKS = "aten::_nested_tensor_from_mask"


def take_padded_path(graph: Any) -> None:  # noqa: ANN401 - torch's stubs lack some of its methods
    """Settle the question whether an input can be packed: it is not."""
    for node in list(nodes(graph)):
        if node.kind() == _ASKS:
            constant = graph.insertConstant(False)
            constant.node().moveBefore(node)
            node.output().replaceAllUsesWith(constant)
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
