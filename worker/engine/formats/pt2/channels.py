"""Cut the values of an exported program to some of their channels."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch.export import ExportedProgram
from torch.fx import Node

from worker.engine.formats.aten.norms import VARIANCE
from worker.engine.formats.pt2.graph import arguments, kind, stored_tensors
from worker.engine.formats.pt2.rewrite import add_parameter
from worker.engine.formats.pt2.training import is_idle_dropout

_POSITIONS = range(1, VARIANCE + 1)
"""The positions of weight, bias, mean and variance among the arguments of a normalisation."""
_ITEM = "getitem"


def stores_arrays(program: ExportedProgram, node: Node) -> bool:
    """Return whether the arrays of a normalisation are tensors of the file, or None."""
    stored = stored_tensors(program)
    return all(array.name in stored for array in _arrays(node))


def keep_in_norm(
    program: ExportedProgram, node: Node, kept: Sequence[int]
) -> list[Node]:
    """Let a normalisation take some channels of its arrays, and return those that it took."""
    stored = stored_tensors(program)
    arrays = _arrays(node)
    for array in arrays:
        path, tensor = stored[array.name]
        # numpy has no bfloat16, and doubles hold every float
        values = tensor.detach().double().numpy(force=True)[list(kept)]
        node.replace_input_with(
            array, add_parameter(program, f"{path}_kept", values, tensor)
        )
    return arrays


def keep_in_shapes(node: Node, number: int) -> None:
    """Note the number of channels of a node's result, and of what stands for that result."""
    for each in _standing_for(node):
        each.meta["val"] = _narrowed(each.meta["val"], number)


def _narrowed(value: Any, number: int) -> Any:  # noqa: ANN401 - whatever a node's result is
    if isinstance(value, tuple | list):
        first, *statistics = value
        return (_narrowed(first, number), *statistics)
    with value.fake_mode:
        return value.narrow(1, 0, number).contiguous()


def _standing_for(node: Node) -> Iterator[Node]:
    """Yield a node, and those that hand on its first result as it is."""
    yield node
    for user in node.users:
        is_first = kind(user) == _ITEM and user.args[1] == 0
        if is_first or is_idle_dropout(user):
            yield from _standing_for(user)


def _arrays(node: Node) -> list[Node]:
    contents = arguments(node)
    arrays = [contents[position] for position in _POSITIONS]
    return [array for array in arrays if isinstance(array, Node)]
