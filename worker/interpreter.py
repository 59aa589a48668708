"""Releases of Python with known faults in what reads the files and headers of strangers.

`python -m worker.interpreter` warns of those in the release that runs it; `make audit` does so too.

Source: the records of CVE, for CPython.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A fault of the standard library: its number, its effect, and where it is mended.

    `mended` maps the minor version of Python 3 to the first release without the fault; versions
    that are not in it never had one.
    """

    number: str
    effect: str
    mended: Mapping[int, int]


FAULTS = (
    Fault("CVE-2024-0450", "zipfile inflates members that share bytes", {11: 8, 12: 2}),
    Fault(
        "CVE-2024-6232", "tarfile takes quadratic time for a header", {11: 10, 12: 6}
    ),
    Fault(
        "CVE-2024-7592", "http.cookies takes quadratic time for quotes", {11: 10, 12: 6}
    ),
    Fault("CVE-2025-8194", "tarfile loops on a negative size", {11: 14, 12: 12, 13: 6}),
    Fault(
        "CVE-2025-8291",
        "zipfile reads contradictory zip64 records",
        {11: 14, 12: 12, 13: 10, 14: 1},
    ),
)
"""Faults in modules that the service uses. Its own checks do not rely on their absence."""


def known_faults(version: tuple[int, int, int]) -> list[Fault]:
    """Return the faults of a release of Python.

    >>> [fault.number for fault in known_faults((3, 11, 13))]
    ['CVE-2025-8194', 'CVE-2025-8291']
    >>> known_faults((3, 11, 14))
    []
    """
    _, minor, micro = version
    return [fault for fault in FAULTS if micro < fault.mended.get(minor, 0)]


def warnings(version: tuple[int, int, int]) -> list[str]:
    """Return a line for each fault of a release, with the release that mends it."""
    major, minor, micro = version
    return [
        f"Python {major}.{minor}.{micro} has {fault.number}: {fault.effect}. "
        f"{major}.{minor}.{fault.mended[minor]} mends it."
        for fault in known_faults(version)
    ]


if __name__ == "__main__":
    sys.stderr.writelines(f"{line}\n" for line in warnings(sys.version_info[:3]))
