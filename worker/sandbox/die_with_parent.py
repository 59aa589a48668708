"""Run a command that dies with the process that started it, however that one dies: no orphan is ever left.

The parent has threads and must run no Python between fork and exec, so this file is the first thing a child runs, in
an interpreter that imports nothing else, and then becomes the command:

    python -I -S tether.py PARENT_PID COMMAND...
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tethered(command: list[str]) -> list[str]:
    """Return the command line that runs `command` tied to the calling process.

    On Linux the kernel kills it when the thread that starts it ends, so start it from a thread that outlives it.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def _become(parent: int, command: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would be a copy of someone's model
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent process ended before its child began")
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
