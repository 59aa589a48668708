"""The allocator of the C library, set for the bodies of uploads."""

import ctypes
import sys

# malloc.h: the bytes that the heap keeps at its end, and grows by.
_M_TOP_PAD = -2
_TOP_PAD_BYTES = 16 * 1024**2


def keep_heap() -> None:
    """Let the heap keep some memory between the pieces of an upload.

    By default, glibc returns the memory of each piece to the system, which then clears it again for
    the next piece.
    """
    if sys.platform != "linux":
        return
    # Other C libraries have no such function.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TOP_PAD, _TOP_PAD_BYTES)
