"""The parent-death signal: a command dies with its parent process, however that dies.

The parent has threads and must run no Python between fork and exec, so that this file is the first
thing that a child runs, in an interpreter that imports nothing else; then it becomes the command:

    python -I -S die_with_parent.py PARENT_PID COMMAND...
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def dying_with_parent(command: list[str]) -> list[str]:
    """Return the command line that runs `command` and ends it with the calling process.

    On Linux the kernel kills it when the thread that started it ends, so start it from a thread
    that outlives it.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def _exec_with_signal(parent: int, command: list[str]) -> None:
    resource.setrlimit(
        resource.RLIMIT_CORE, (0, 0)
    )  # a dump would be a copy of someone's model
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent died before the signal was set.
    if os.getppid() != parent:
        sys.exit("the parent process ended before its child began")
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    _exec_with_signal(int(sys.argv[1]), sys.argv[2:])
