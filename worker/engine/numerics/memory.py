"""Memory that is given back between large pieces of work; it would be a third of a job's peak.

glibc takes arrays of up to 32 MB from heaps, which shrink at their ends alone: memory that is free
between arrays stays with the process. So do pages of a mapped file, though they can be read again
at any time.

Sources: malloc_trim(3); mallopt(3) on M_MMAP_THRESHOLD; madvise(2); proc(5) on statm.
"""

import ctypes
import mmap
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

_mappings: WeakValueDictionary[tuple[int, int, int], mmap.mmap] = WeakValueDictionary()
"""Whole files by device, inode and size, while arrays lie over them.

One mapping a file lets one call give back all its pages.
"""

_LEAST_GROWTH = 8 << 20
"""The bytes by which a process has to grow before its heap is searched for free pages again."""

_baseline = 0
"""The fewest bytes in memory, without those of files, since the heap was last searched."""


def mapped(
    path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]
) -> NDArray[Any]:
    """Return an array over a file from an offset, which only pages that are read take memory of.

    Writing to the array does not change the file.
    """
    with path.open("rb") as file:
        number = file.fileno()
        status = os.fstat(number)
        identity = status.st_dev, status.st_ino, status.st_size
        # a file that was replaced under the same path has another inode
        mapping = _mappings.get(identity)
        if mapping is None:
            mapping = mmap.mmap(number, 0, access=mmap.ACCESS_COPY)
            _mappings[identity] = mapping
    return np.ndarray(shape, dtype, mapping, offset)


def give_back() -> None:
    """Give back all pages of mapped files, and free pages of the heap if the C library is glibc.

    To search the heap takes some milliseconds, and more where pages are needed again.
    """
    global _baseline
    give_back_files()
    if sys.platform != "linux":
        return
    # other C libraries do not have this function
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    _baseline = _resident()


def give_back_growth() -> None:
    """Give back as `give_back` within a loop, whose next turn can use what this one has freed.

    The heap is left until the process has grown. What was held at the last search and is free by
    now is no growth: `give_back` finds it.
    """
    global _baseline
    if sys.platform == "linux":
        resident = _resident()
        if resident < _baseline + _LEAST_GROWTH:
            _baseline = min(_baseline, resident)
            give_back_files()
            return
    give_back()


def give_back_files() -> None:
    """Give back all pages of mapped files. Values that were written to the arrays are lost."""
    for mapping in _mappings.values():
        mapping.madvise(mmap.MADV_DONTNEED)


def _resident() -> int:
    """Return the bytes of this process that are in memory, without those of files."""
    _, resident, of_files, *_ = Path("/proc/self/statm").read_text().split()
    return (int(resident) - int(of_files)) * mmap.PAGESIZE
