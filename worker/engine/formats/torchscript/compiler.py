"""Keep torch's compiler out of this process: nothing here compiles, and its import takes a second.

Torch's functions for tensors without data hide from the compiler. Each imports it when it is first
called, to ask what to call in its own place. The answer is itself, and an attribute holds it.
"""

from collections.abc import Iterator
from functools import cache
from types import FunctionType

from torch._decomp import global_decomposition_table

_ANSWER = "__dynamo_disable"
"""The attribute of torch 2.13 (`torch/_compile.py`). Without it the compiler is imported."""


@cache
def leave_out() -> None:
    """Give all of torch's functions for tensors without data the compiler's answer."""
    seen: set[FunctionType] = set()
    for functions in global_decomposition_table.values():
        for function in functions.values():
            for wrapped in _wrapped_by(function, seen):
                vars(wrapped).setdefault(_ANSWER, wrapped)


def _wrapped_by(function: object, seen: set[FunctionType]) -> Iterator[FunctionType]:
    """Yield the functions that a function holds in its closure, and those that they hold."""
    if not isinstance(function, FunctionType) or function in seen:
        return
    seen.add(function)
    for cell in function.__closure__ or ():
        if isinstance(cell.cell_contents, FunctionType):
            yield cell.cell_contents
        yield from _wrapped_by(cell.cell_contents, seen)
