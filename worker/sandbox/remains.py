"""The processes that a child leaves behind although its keeper should have killed them.

The keeper may be killed itself. In a complete sandbox all processes of a child stay in the session
of its keeper, where the worker finds them. Where system calls are not restricted, a process can
leave that session: it then becomes a child of the worker, if the worker adopts orphans.
"""

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import structlog

from worker.sandbox import launcher

_PR_SET_CHILD_SUBREAPER = 36

log = structlog.get_logger(__name__)


class _Family:
    """The keepers of this process that are not ended yet, and whether it adopts orphans."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.keepers: set[int] = set()
        self.adopts = False


_family = _Family()


def adopt_orphans() -> None:
    """Make this process the parent of the processes whose keeper has died.

    From then on, all children of this process that are no keepers are killed. Call it only in a
    process that starts no others.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _family.adopts = True


def start_keeper(
    start: Callable[[], subprocess.Popen[bytes]],
) -> subprocess.Popen[bytes]:
    """Start a keeper, and note it before a search could take it for an orphan."""
    with _family.lock:
        keeper = start()
        _family.keepers.add(keeper.pid)
    return keeper


def kill_remains(keeper: int) -> None:
    """Kill all processes that a keeper has left behind.

    Call it when the keeper has ended, and before it is reaped: another process could get its
    number.
    """
    with _family.lock:
        remains: set[int] = set()

        def find() -> set[int]:
            remains.update(_remains(keeper))
            return remains

        launcher.kill_all(find)
        _family.keepers.discard(keeper)
    if remains:
        log.warning(
            "processes outlived their keeper and were killed", processes=len(remains)
        )
    for pid in remains:
        with suppress(ChildProcessError):  # the child of another process
            os.waitpid(pid, 0)


def _remains(keeper: int) -> set[int]:
    remains: set[int] = set()
    for process in launcher.processes():
        in_session = process.session == keeper and process.pid != keeper
        is_adopted = (
            _family.adopts
            and process.parent == os.getpid()
            and process.pid not in _family.keepers
        )
        if in_session or is_adopted:
            remains.add(process.pid)
    return remains
