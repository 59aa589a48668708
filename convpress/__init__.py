"""convpress: make trained networks cheaper without any data.

    from convpress import Client, compress

    with Client("http://127.0.0.1:8000") as client:          # by a running service
        job = client.wait(client.submit("net.onnx", "0.5"))
        client.download(job, "net.convpress.onnx")

    result = compress("net.onnx", flops_budget=0.5)          # on this machine
    print(result.output, result.report.keep)

The package holds what users import, and what the API, the worker and the engine share.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convpress.client.client import AsyncClient, Client
    from convpress.client.errors import (
        ClientError,
        Corrupt,
        JobFailed,
        Refused,
        TooLate,
        Unavailable,
    )
    from convpress.local import (
        Compression,
        EngineLost,
        EngineMissing,
        compress,
        inspect,
    )
    from convpress.refusal import Refusal
    from convpress.report import Inspection, Report

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Compression",
    "Corrupt",
    "EngineLost",
    "EngineMissing",
    "Inspection",
    "JobFailed",
    "Refusal",
    "Refused",
    "Report",
    "TooLate",
    "Unavailable",
    "compress",
    "inspect",
]

# The module of each name, so that `__getattr__` imports that one alone.
_HOMES = {
    "AsyncClient": "convpress.client.client",
    "Client": "convpress.client.client",
    "ClientError": "convpress.client.errors",
    "Compression": "convpress.local",
    "Corrupt": "convpress.client.errors",
    "EngineLost": "convpress.local",
    "EngineMissing": "convpress.local",
    "Inspection": "convpress.report",
    "JobFailed": "convpress.client.errors",
    "Refusal": "convpress.refusal",
    "Refused": "convpress.client.errors",
    "Report": "convpress.report",
    "TooLate": "convpress.client.errors",
    "Unavailable": "convpress.client.errors",
    "compress": "convpress.local",
    "inspect": "convpress.local",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each name has its own type
    """Import a public name when it is first used.

    The engine's child process imports this package for every job; httpx and pydantic would cost it
    time.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
