"""The start of the engine within its sandbox: from here on, it executes no other program.

The launcher executes this program and therefore cannot refuse that. A program that a second thread
executes would lose the parent-death signal, and outlive its keeper.
"""

import runpy

from worker.sandbox import launcher, system_calls


def _has_filter() -> bool:
    """Tell whether the system calls of this process are restricted."""
    try:
        with open("/proc/self/status") as file:  # noqa: PTH123 - a line, not a file
            return "\nSeccomp:\t2\n" in file.read()
    except OSError:
        return False


if __name__ == "__main__":
    if _has_filter():
        launcher.restrict_calls(system_calls.no_execution())
    runpy.run_module("worker.engine", run_name="__main__", alter_sys=True)
