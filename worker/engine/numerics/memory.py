"""Memory that is given back between large pieces of work, where it would otherwise be a third of a job's peak.

glibc takes arrays of up to 32 MB from heaps, which shrink at their ends alone: what is free between what is still held
stays with the process. So do pages of a mapped file, though they can be read again at any time.

Sources: malloc_trim(3); mallopt(3) on M_MMAP_THRESHOLD; madvise(2).
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
"""Whole files by device, inode and size, as long as anything lies over them: one call then gives back all pages."""


def mapped(path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return what a file has at an offset, of which only pages that are read are kept; writing does not change it."""
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        identity = found.st_dev, found.st_ino, found.st_size
        mapping = _mappings.get(identity)
        if mapping is None:
            mapping = _mappings[identity] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return np.ndarray(shape, dtype, mapping, offset)


def give_back() -> None:
    """Give back all pages of mapped files, and those of the heap that hold nothing, where the C library is glibc.

    It takes a millisecond or several, and time again where pages are asked for anew.
    """
    give_back_files()
    if sys.platform == "linux":
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def give_back_files() -> None:
    """Give back all pages of mapped files. What was written to such an array is lost."""
    for mapping in _mappings.values():
        mapping.madvise(mmap.MADV_DONTNEED)
