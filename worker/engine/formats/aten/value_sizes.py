"""Which tensors of a run have sizes that the values of its inputs decide.

Operators of torch say it of themselves by tags: the sizes of what `nonzero` returns depend on
values, and `item` gives a value to the program, which may do anything with it.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from worker.engine.formats.aten.nested_values import tensors_in

# They read lengths from a tensor without a tag.
_OF_LENGTHS = frozenset({"aten::_pack_padded_sequence", "aten::_pad_packed_sequence"})
_SELECTING = (torch.bool, torch.uint8)


class ValueSizes:
    """Follows values and sizes from the inputs of a run, operator by operator.

    Memory stands for tensors: a view has what its base has. `were_read` says whether the program
    has read a value, after which it may do other things for other values.
    """

    def __init__(self, inputs: Iterable[Tensor], *, were_read: bool = False) -> None:
        # A weak reference keeps the address from being used again, not the tensor in memory.
        self._noted: dict[int, StorageWeakRef] = {}
        self._values: set[int] = set()
        self._sizes: set[int] = set()
        for tensor in inputs:
            self._values.add(self._keep(tensor))
        self.were_read = were_read

    def decide(self, values: Any) -> bool:  # noqa: ANN401 - whatever flows through the graph
        """Return whether values of the inputs may decide the sizes of these tensors."""
        memories = {_memory(tensor) for tensor in tensors_in(values)}
        return self.were_read or not memories.isdisjoint(self._sizes)

    def note(self, func: Any, args: Any, result: Any) -> None:  # noqa: ANN401 - as torch calls modes
        """Note an operator that has run on these arguments, by place and by name."""
        before = {_memory(tensor) for tensor in tensors_in(args)}
        has_values = not before.isdisjoint(self._values)
        has_sizes = not before.isdisjoint(self._sizes)
        if has_values and torch.Tag.data_dependent_output in func.tags:
            self.were_read = True
        deciding = {_memory(tensor) for tensor in tensors_in(_deciding(func, args))}
        has_sizes |= not deciding.isdisjoint(self._values)
        if not has_values and not has_sizes:
            return
        for tensor in tensors_in(result):
            memory = self._keep(tensor)
            self._values.add(memory)
            if has_sizes:
                self._sizes.add(memory)

    def _keep(self, tensor: Tensor) -> int:
        memory = _memory(tensor)
        if memory not in self._noted:
            reference = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._noted[memory] = reference
        return memory


def _deciding(func: Any, args: Any) -> Any:  # noqa: ANN401 - as above
    """Return the arguments of an operator whose values decide the sizes of its results."""
    if func.overloadpacket is torch.ops.aten.index:
        # Indices have a size of their own; masks select as many as are true.
        indices = tensors_in(args[0][1])
        return [index for index in indices if index.dtype in _SELECTING]
    is_tagged = torch.Tag.dynamic_output_shape in func.tags
    return args if is_tagged or func._schema.name in _OF_LENGTHS else ()


def _memory(tensor: Tensor) -> int:
    memory: int = tensor.untyped_storage()._cdata
    return memory
