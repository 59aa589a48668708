"""The target that this host is: the cost table of the package that fits its processor."""

import platform
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_NEEDED = {
    "x86-avx512": frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
    "x86-avx2": frozenset({"avx2", "fma"}),
}
"""The features, as Linux names them, by which the runtimes choose their code."""


@cache
def host_target() -> str | None:
    """Return the target's name; None for a processor that the package has no table for."""
    if platform.machine() != "x86_64":
        return None
    return target_of(_CPUINFO.read_text())


def target_of(cpuinfo: str) -> str | None:
    """Return the target of a processor by its entry in /proc/cpuinfo.

    >>> target_of("flags : fpu avx2 fma"), target_of("Features : asimd")
    ('x86-avx2', None)
    """
    flags: frozenset[str] = frozenset()
    for line in cpuinfo.splitlines():
        name, _, words = line.partition(":")
        if name.strip() == "flags":
            flags = frozenset(words.split())
            break
    return next((name for name, needed in _NEEDED.items() if needed <= flags), None)
