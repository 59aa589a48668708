"""Torch's errors about a file or an input, and the line of each that states the cause."""

import re

import torch

TORCH_ERRORS = (
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    torch.jit.Error,
)
"""Errors that torch, or a `raise` of the module itself, reports about a file or an input.

Memory and system errors are not the input's fault.
"""

_LONGEST_MESSAGE = 300
# torch has no exception class for it: its message alone tells
_NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"


def require_memory(error: BaseException) -> None:
    """Raise a `MemoryError` for torch's message that memory ran out; torch has no exception for it.

    Raises:
        MemoryError: the message says so.
    """
    if _NO_MEMORY in str(error):
        raise MemoryError(message_of(error)) from error


def message_of(error: BaseException) -> str:
    r"""Return the line of torch's message that states the cause, without the traceback.

    >>> message = "The operation failed\nTraceback of TorchScript:\nRuntimeError: bad size\n"
    >>> message_of(RuntimeError(message))
    'bad size'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [
        match[1]
        for line in lines
        if (match := re.fullmatch(r"(?:[\w.]+(?:Error|Exception)): (.+)", line))
    ]
    likeliest = [*causes[-1:], *lines[:1]]
    text = next(iter(likeliest), type(error).__name__)
    if len(text) > _LONGEST_MESSAGE:
        return text[: _LONGEST_MESSAGE - 3] + "..."
    return text
