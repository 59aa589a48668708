"""Torch's messages, cut to the line that states the cause."""

import pytest

from worker.engine.formats.aten.errors import message_of, require_memory


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "The operation failed\nTraceback:\n  TypeError: first\nRuntimeError: last\n",
            "last",
        ),
        ("torch.jit.Error: in a module", "in a module"),
        ("\n  the first line\nand another", "the first line"),
        ("", "ValueError"),
    ],
)
def test_the_last_cause_counts_or_else_the_first_line(text, message):
    assert message_of(ValueError(text)) == message


def test_a_long_message_ends_in_dots():
    message = message_of(ValueError("x" * 400))
    assert len(message) == 300
    assert message.endswith("x...")


def test_exhausted_memory_is_an_error_of_its_own():
    text = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
    with pytest.raises(MemoryError, match="you tried"):
        require_memory(RuntimeError(text))
    require_memory(RuntimeError("another"))
