"""The text of what a child wrote to standard error."""

import re

# At its import ONNX Runtime looks for devices, and warns that the sandbox hides them. Its loggers
# take a level only after that. A reader would take the line for the reason of a failure.
_HIDDEN_DEVICES = re.compile(
    rb"^[^\n]*\[W:onnxruntime:Default, device_discovery\.cc:[^\n]*\n?", re.MULTILINE
)


def log_text(written: bytes | bytearray) -> str:
    r"""Decode a log, without the warnings that the sandbox hides the host's devices.

    >>> log_text(
    ...     b"[W:onnxruntime:Default, device_discovery.cc:4 Look] Permission denied\nno\xff\n"
    ... )
    'no\ufffd\n'
    """
    return _HIDDEN_DEVICES.sub(b"", written).decode(errors="replace")
