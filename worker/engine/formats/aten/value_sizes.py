"""Which tensors of a run have sizes that the values of its inputs decide.

Operators of torch say it of themselves by tags: the sizes of what `nonzero` returns depend on
values, and `item` gives a value to the program, which may do anything with it.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

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
        self._values = {_memory(tensor) for tensor in inputs}
        self._sizes: set[int] = set()
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
        for tensor in tensors_in(result):
            memory = _memory(tensor)
            # Memory is used again: a new tensor has nothing of what lay there before.
            if memory not in before:
                self._values.discard(memory)
                self._sizes.discard(memory)
            if has_values or has_sizes:
                self._values.add(memory)
            if has_sizes:
                self._sizes.add(memory)


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
