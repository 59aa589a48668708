"""Normalisations of a TorchScript graph, and the statistics that they hold."""

from collections.abc import Callable
from typing import Any

from torch._C import Node, Value

from worker.engine.formats.torchscript.method import UNKNOWN
from worker.engine.program import NoProgramError, Norm

# Their arguments: data, weight, bias, mean, variance, whether to use (and update) the data's own
# statistics, momentum, epsilon.
NORMS = frozenset(
    {
        "aten::batch_norm",
        "aten::_batch_norm_impl_index",
        "aten::native_batch_norm",
        "aten::instance_norm",
    }
)
MEAN, VARIANCE, OWN_STATISTICS = 3, 4, 5
"""Positions of arguments."""
_ARGUMENTS = 8  # those that all of them have


def stored_statistics(node: Node, constant: Callable[[Value], Any]) -> Norm | None:
    """Return the stored statistics that a node normalises by, None for those of the data.

    `constant` returns the content that a value has at every run, or `UNKNOWN`.

    Raises:
        NoProgramError: it may write into its statistics.
    """
    _, *settings = list(node.inputs())[:_ARGUMENTS]
    contents = [constant(value) for value in settings]
    weight, bias, mean, variance, own, _, epsilon = contents
    # Without stored statistics there are none to write into.
    if own is UNKNOWN or (own is not False and mean is not None):
        raise NoProgramError(f"{node.kind()} may write into its statistics")
    if own or mean is None:
        return None
    if any(content is UNKNOWN for content in (weight, bias, mean, variance, epsilon)):
        return None
    return Norm(mean, variance, weight, bias, epsilon)
