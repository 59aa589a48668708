"""Run a function in a forked process of limited processor time and memory."""

import json
import os
import resource
import signal
import traceback
from collections.abc import Callable
from typing import Any

_BYTES = 10 * 2**30


def in_child(
    work: Callable[[], dict[str, Any]], seconds: int, quiet: bool
) -> dict[str, Any]:
    """Return the JSON members that `work` returns, or `error`: its exception or its end.

    `seconds` are those of the processor. The process is forked, so that the libraries which are
    loaded need not be loaded again. It must not have threads. Nothing that `work` prints is shown
    where it is `quiet`.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _run(work, write, seconds, quiet)
    os.close(write)
    with os.fdopen(read) as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    if content:
        members: dict[str, Any] = json.loads(content)
        return members
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGXCPU:
        return {"error": f"not done after {seconds} s of the processor's time"}
    return {"error": f"the process ended with {code}"}


def _run(
    work: Callable[[], dict[str, Any]], write: int, seconds: int, quiet: bool
) -> None:
    """Do the work in the child, and end it."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (_BYTES, _BYTES))
    if quiet:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    try:
        answer = work()
    except BaseException as error:
        answer = {
            "error": _one_line(error),
            "traceback": traceback.format_exc()[-2000:],
        }
    with os.fdopen(write, "w") as pipe:
        json.dump(answer, pipe)
    os._exit(0)


def _one_line(error: BaseException) -> str:
    text = traceback.format_exception_only(error)[-1].strip()
    return text.splitlines()[0][:300]
