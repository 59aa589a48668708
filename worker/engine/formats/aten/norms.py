"""Normalisations of a graph of aten operators, and the statistics that they hold."""

from collections.abc import Sequence
from typing import Any

from worker.engine.formats.aten.layers import UNKNOWN
from worker.engine.program import NoProgramError, Norm

# Their arguments: data, weight, bias, mean, variance, whether to use (and update) the data's own
# statistics, momentum, epsilon.
NORMS = frozenset(
    {
        "aten::batch_norm",
        "aten::_batch_norm_impl_index",
        "aten::native_batch_norm",
        "aten::instance_norm",
        "aten::_native_batch_norm_legit",
    }
)
MEAN, VARIANCE, OWN_STATISTICS = 3, 4, 5
"""Positions of arguments."""
ARGUMENTS = 8
"""The number of arguments that all of them have."""


def stored_statistics(kind: str, contents: Sequence[Any]) -> Norm | None:
    """Return the stored statistics that an operator normalises by, None for those of the data.

    `contents` are those of its first `ARGUMENTS` arguments at every run, or `UNKNOWN`; that of the
    data is not looked at.

    Raises:
        NoProgramError: it may write into its statistics.
    """
    _, weight, bias, mean, variance, own, _, epsilon = contents
    # Without stored statistics there are none to write into.
    if own is UNKNOWN or (own is not False and mean is not None):
        raise NoProgramError(f"{kind} may write into its statistics")
    if own or mean is None:
        return None
    operands = (weight, bias, mean, variance, epsilon)
    if any(content is UNKNOWN for content in operands):
        return None
    return Norm(mean, variance, weight, bias, epsilon)
