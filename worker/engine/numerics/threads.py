"""The threads that models run on: one, except while both models of a job are timed on more."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_number: ContextVar[int] = ContextVar("threads", default=1)


def model_threads() -> int:
    """Return the threads of models that are loaded now."""
    return _number.get()


@contextmanager
def loaded_on(number: int) -> Iterator[None]:
    """Let the models that are loaded within the block run on a number of threads there."""
    token = _number.set(number)
    try:
        yield
    finally:
        _number.reset(token)
        # torch's number is one of the process; a process that has not imported torch has none
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(model_threads())
