"""Read the nodes of a TorchScript graph that write, as steps that write on copies."""

from collections.abc import Iterable, Sequence

from torch._C import Node, Value

from worker.engine.formats.aten.copy_on_write import on_copies
from worker.engine.formats.aten.step_recorder import StepRecorder
from worker.engine.formats.torchscript.execution.node_call import node_call
from worker.engine.formats.torchscript.graph import captured_values
from worker.engine.formats.torchscript.method import Method
from worker.engine.formats.torchscript.operators import is_random, written_values
from worker.engine.formats.torchscript.program.shared_memory import (
    SharedMemory,
    require_single_name,
)
from worker.engine.formats.torchscript.program.value_names import ValueNames
from worker.engine.program import Step


class Writes:
    """Reads nodes that write: whatever they change has another name from there on."""

    def __init__(self, method: Method, names: ValueNames, steps: StepRecorder) -> None:
        self._names = names
        self._steps = steps
        self._memory = SharedMemory(method, names, steps)

    def append(self, node: Node) -> None:
        """Read an append to a list of which every item is known by name.

        Raises:
            NoProgramError: the list may have several names.
        """
        items, item = node.inputs()
        require_single_name(items, node)
        old = self._names.of(items)
        parts = (*self._names.parts[old], self._names.of(item))
        name = self._names.rename(old)
        self._names.bind(node.output(), name)
        self._names.parts[name] = parts
        step = Step(
            op="prim::ListConstruct",
            takes=parts,
            gives=(name,),
            run=lambda *contents: ([*contents],),
        )
        self._steps.add(step, is_random=False)

    def write(self, node: Node) -> None:
        """Read a node that writes.

        It runs on copies, and all that it changes has another name from there on: lists, which the
        call returns, and whatever shares memory with a tensor that is written.

        Raises:
            NoProgramError: it runs code that is no operator of torch's own, or writes into a list
                that may have several names.
        """
        values = captured_values(node)
        lists, targets = self._written_positions(node, values)
        call = node_call(node, values, lists)
        for position in lists:
            require_single_name(values[position], node)
        for value in node.outputs():
            self._names.forget(value)
        names = self._names.of_all(values)
        written = [values[position] for position in targets]
        # A dictionary, for its keys alone: each name once, in order.
        written_names = self._names.of_all(written)
        changed = dict.fromkeys(written_names)
        sharing = self._memory.names_sharing(written)
        changed |= dict.fromkeys(sharing)
        for position in lists:
            changed.pop(names[position], None)

        others = [name for name in changed if name not in names]
        takes = [*names, *others]
        positions = [takes.index(name) for name in changed]
        run = on_copies(call, len(values), targets, positions)
        gives = [self._names.fresh(value) for value in node.outputs()]
        gives += [self._names.rename(names[position]) for position in lists]
        gives += self._rename_all(changed)
        step = Step(
            op=node.kind(),
            takes=tuple(takes),
            gives=tuple(gives),
            run=run,
        )
        self._steps.add(step, is_random=is_random(node))

    def _rename_all(self, changed: Iterable[str]) -> list[str]:
        """Give changed values fresh names, also as items of lists and tuples that change along."""
        renamed = {name: self._names.rename(name) for name in changed}
        for old, new in renamed.items():
            parts = self._names.parts.get(old)
            if parts is not None:
                current = [renamed.get(part, part) for part in parts]
                self._names.parts[new] = tuple(current)
        new_names = renamed.values()
        return list(new_names)

    def _written_positions(
        self, node: Node, values: Sequence[Value]
    ) -> tuple[list[int], list[int]]:
        """Return the positions of the lists that a node writes, and those of the tensors."""
        written = written_values(node)
        written_lists = [value for value in written if _is_list(value)]
        written_tensors = [value for value in written if not _is_list(value)]
        reached = self._memory.reached(node, values, written_lists)
        lists = [position for position in reached if _is_list(values[position])]
        tensors = self._memory.reached(node, values, written_tensors)
        return lists, tensors


def _is_list(value: Value) -> bool:
    return value.type().kind() in ("ListType", "DictType")
