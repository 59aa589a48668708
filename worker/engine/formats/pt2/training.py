"""Programs that were exported in training mode: they drop values and change their statistics."""

from collections.abc import Iterable

from torch.fx import Node

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.aten.norms import MEAN, NORMS, OWN_STATISTICS
from worker.engine.formats.pt2.graph import arguments, kind

_PASSING_DROPOUTS = frozenset(
    {
        "aten::alpha_dropout",
        "aten::alpha_dropout_",
        "aten::dropout",
        "aten::dropout_",
        "aten::feature_alpha_dropout",
        "aten::feature_alpha_dropout_",
        "aten::feature_dropout",
        "aten::feature_dropout_",
    }
)
"""Dropouts whose only result is their first argument, where they drop nothing."""
_DROPOUTS = _PASSING_DROPOUTS | {"aten::native_dropout"}
"""Operators whose third argument says whether they drop values."""
_TRAINS = 2


def require_evaluation(nodes: Iterable[Node]) -> None:
    """Check that a program of these nodes computes the same at every run.

    Raises:
        Refusal: `model_unsupported`.
    """
    for node in nodes:
        if node.op == "call_function" and _trains(node):
            raise Refusal(
                Code.MODEL_UNSUPPORTED,
                "the program was exported in training mode: call model.eval() before "
                "torch.export.export",
                field=FIELD,
                expected="a program in evaluation mode",
                got=f"{kind(node)} in training mode",
            )


def is_idle_dropout(node: Node) -> bool:
    """Whether a node passes its first argument on, since it drops nothing."""
    return kind(node) in _PASSING_DROPOUTS and not arguments(node)[_TRAINS]


def _trains(node: Node) -> bool:
    name = kind(node)
    if name in _DROPOUTS:
        return bool(arguments(node)[_TRAINS])
    if name in NORMS and name != "aten::instance_norm":
        contents = arguments(node)
        return contents[MEAN] is not None and bool(contents[OWN_STATISTICS])
    return False
