"""The processor of this host, as Linux names it."""

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_NAMES = ("model name", "Model", "Hardware", "CPU part")
"""The lines that name a processor, the most telling first; those of Arm have no `model name`."""


def host_name() -> str:
    """Return the processor's architecture and name."""
    text = _CPUINFO.read_text() if _CPUINFO.exists() else ""
    name = model_name(text) or platform.processor() or "unknown"
    return f"{platform.machine()} {name}"


def model_name(cpuinfo: str) -> str | None:
    r"""Return the name of a processor by its entry in /proc/cpuinfo; None where it has none.

    >>> model_name("processor\t: 0\nCPU part\t: 0xd08\nModel\t: Raspberry Pi 4")
    'Raspberry Pi 4'
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    values = {key.strip(): value.strip() for key, _, value in lines}
    return next((values[name] for name in _NAMES if values.get(name)), None)
