"""Find the values that change along when a node of a TorchScript graph writes into one of them."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch._C import Node, Value

from worker.engine.formats.aten.copy_on_write import memory_of
from worker.engine.formats.aten.nested_values import tensors_in
from worker.engine.formats.aten.step_recorder import StepRecorder
from worker.engine.formats.torchscript.method import Method
from worker.engine.formats.torchscript.operators import written_values
from worker.engine.formats.torchscript.program.value_names import ValueNames
from worker.engine.program import NoProgramError

# Lists that surely have no other name come from these, and from most operators.
_CONSTRUCTIONS = frozenset({"prim::ListConstruct", "prim::DictConstruct"})
_ITEMS = frozenset({"aten::__getitem__", "aten::get", "aten::pop"})
# What holds on to a list that it takes, so that the list has another name from there on.
_HOLDERS = frozenset(
    {
        "prim::ListConstruct",
        "prim::TupleConstruct",
        "prim::DictConstruct",
        "prim::Return",
    }
)


class SharedMemory:
    """Which values of a method may lie in the same memory, by torch's analysis of aliases."""

    def __init__(self, method: Method, names: ValueNames, steps: StepRecorder) -> None:
        self._aliases: Any = method.graph.alias_db()
        self._names = names
        self._steps = steps

    def reached(
        self, node: Node, values: Sequence[Value], written: Sequence[Value]
    ) -> list[int]:
        """Return the positions of the values that a node writes into, or may write into.

        Inside a branch or loop a value may be written by another name.
        """
        own = {value.unique() for value in written}
        has_blocks = any(node.blocks())  # a branch or a loop
        positions = []
        for position, value in enumerate(values):
            if value.unique() in own or (
                has_blocks and self._may_share(value, written)
            ):
                positions.append(position)
        return positions

    def names_sharing(self, targets: Sequence[Value]) -> Iterator[str]:
        """Yield the names of values that may share memory with the targets and are ever read."""
        if not targets:
            return
        own = self._names.of_all(targets)
        contents = [self._steps.constant(name) for name in own]
        tensors = tensors_in(contents)
        memories = {memory_of(tensor) for tensor in tensors}
        by_name = self._names.by_name()
        for name, values in by_name.items():
            if name in self._steps.constants:
                content = self._steps.constants[name]
                content_tensors = tensors_in(content)
                is_sharing = any(
                    memory_of(tensor) in memories for tensor in content_tensors
                )
            else:
                read = [value for value in values.values() if value.uses()]
                is_sharing = any(self._may_share(value, targets) for value in read)
            if is_sharing:
                yield name

    def _may_share(self, value: Value, others: Sequence[Value]) -> bool:
        return any(self._aliases.may_contain_alias(value, other) for other in others)


def require_single_name(value: Value, writer: Node) -> None:
    """Check that a list which is written into has no other name.

    Raises:
        NoProgramError: it may have one.
    """
    is_held = any(_holds(use, writer) for use in value.uses())
    if is_held or not _is_new(value.node()):
        raise NoProgramError(
            f"{writer.kind()} writes into a list that may have several names"
        )


def _is_new(maker: Node) -> bool:
    """Whether a node makes its list anew, rather than pass on one that another value holds."""
    kind = maker.kind()
    if kind in _CONSTRUCTIONS:
        return True
    is_operator = kind.startswith("aten::") and kind not in _ITEMS
    return is_operator and not written_values(maker)


def _holds(use: Any, writer: Node) -> bool:  # noqa: ANN401 - not in torch's stubs
    """Whether a node before the writer gives the list that it takes another name."""
    if not use.user.isBefore(writer):
        return False
    if use.user.kind() in _HOLDERS:
        return True
    # What writes one of its other arguments into something may write this list there.
    return bool(use.offset and written_values(use.user))
