"""The probe: it tries what a hostile model would try, and prints its successes as JSON.

It runs in an interpreter that imports nothing else: python -I -S probe.py TARGETS
"""

import ctypes
import fcntl
import json
import mmap
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

PROMISES = {
    "files": "a model reads nothing but itself and the installation, "
    "and writes only to its scratch folder",
    "network": "a model reaches no network and no other process",
    "processes": "a model starts no processes, signals none and does not outlive its job",
    "memory": "a model takes no more memory than a job may use",
    "rights": "a model has no privileges and can gain none",
}

# The numbers of Linux that Python does not name.
_F_SETSIG = 10
_F_SETOWN_EX = 15
_F_OWNER_PID = 1
_FIOASYNC = 0x5452
_PR_SET_PDEATHSIG = 1

Attempts = dict[str, Callable[[], object]]
"""Functions by the message for their success; they fail by OSError or MemoryError."""


def main(targets: dict[str, Any]) -> None:
    """Try everything, and print the messages of what succeeded."""
    attempts: dict[str, Attempts] = {
        "files": _attempts_on_files(targets),
        "network": _attempts_on_network(targets),
        "processes": _attempts_on_processes(targets),
        "memory": _attempts_on_memory(targets),
        "rights": {"it has capabilities, or could gain them": _gain_rights},
    }
    escapes = {name: _successes(each) for name, each in attempts.items()}
    sys.stdout.write(json.dumps(escapes))


def _successes(attempts: Attempts) -> list[str]:
    return [message for message, attempt in attempts.items() if _works(attempt)]


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, MemoryError):
        return False
    return True


def _attempts_on_files(targets: dict[str, Any]) -> Attempts:
    secret, upload = targets["secret"], targets["upload"]
    environ = f"/proc/{targets['worker']}/environ"
    attempts: Attempts = {
        "it read a file outside": lambda: _read(secret),
        "it read the worker's environment": lambda: _read(environ),
        "it could write to the upload": lambda: _open(upload, os.O_WRONLY),
        "it could shorten the upload": lambda: os.truncate(upload, 0),
        "it could shorten what it opened to read": lambda: _open(upload, os.O_TRUNC),
        "it made a file outside": lambda: _open(
            secret + ".new", os.O_WRONLY | os.O_CREAT
        ),
        "it could take the rights to a file outside": lambda: os.chmod(secret, 0o600),  # noqa: PTH101 - imports nothing
        "it made a link": lambda: os.symlink("/", "link"),  # noqa: PTH211 - imports nothing
    }
    if targets["proc_too"]:
        attempts["it read the list of connections"] = lambda: _read(
            "/proc/self/net/tcp"
        )
        attempts["it read the list of mounts"] = lambda: _read("/proc/self/mountinfo")
    return attempts


def _attempts_on_network(targets: dict[str, Any]) -> Attempts:
    address = ("127.0.0.1", targets["port"])
    return {
        "it connected by TCP": lambda: _send(socket.SOCK_STREAM, address),
        "it sent by UDP": lambda: _send(socket.SOCK_DGRAM, address),
        "it opened a UNIX socket": lambda: socket.socket(socket.AF_UNIX).close(),
    }


def _attempts_on_processes(targets: dict[str, Any]) -> Attempts:
    worker, nice = targets["worker"], targets["nice"]
    return {
        "it started a process": _start_process,
        "it could signal the worker": lambda: os.kill(worker, 0),
        "it could slow the worker down": lambda: os.setpriority(
            os.PRIO_PROCESS, worker, nice
        ),
        **_attempts_by_descriptor(worker),
        "it left its session": os.setsid,
        "it left its process group": lambda: os.setpgid(0, 0),
        "it could outlive its keeper": lambda: _prctl(
            _PR_SET_PDEATHSIG, signal.SIGKILL
        ),
    }


def _attempts_by_descriptor(worker: int) -> Attempts:
    """Return attempts at each step by which the kernel would signal the worker about a pipe.

    No two steps are taken on one pipe, so that no signal is sent.
    """
    owner = struct.pack("ii", _F_OWNER_PID, worker)
    switched_on = struct.pack("i", 1)
    return {
        "it could signal the worker by a descriptor (F_SETOWN)": lambda: fcntl.fcntl(
            _pipe(), fcntl.F_SETOWN, worker
        ),
        "it could signal the worker by a descriptor (F_SETOWN_EX)": lambda: fcntl.fcntl(
            _pipe(), _F_SETOWN_EX, owner
        ),
        "it could choose the signal of a descriptor": lambda: fcntl.fcntl(
            _pipe(), _F_SETSIG, signal.SIGURG
        ),
        "it could switch signals on (O_ASYNC)": lambda: fcntl.fcntl(
            _pipe(), fcntl.F_SETFL, os.O_ASYNC
        ),
        "it could switch signals on (FIOASYNC)": lambda: fcntl.ioctl(
            _pipe(), _FIOASYNC, switched_on
        ),
    }


def _pipe() -> int:
    reader, _ = os.pipe()
    return reader


def _attempts_on_memory(targets: dict[str, Any]) -> Attempts:
    size = targets["memory"]
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    attempts: Attempts = {
        "it took more memory": lambda: mmap.mmap(-1, size, private),
        "it made a file in memory, which no limit counts": lambda: os.memfd_create(
            "probe"
        ),
    }
    if targets["shared_too"]:
        attempts["it took more memory to share"] = lambda: mmap.mmap(-1, size)
    return attempts


def _read(path: str) -> object:
    with open(path, "rb") as file:  # noqa: PTH123 - imports nothing
        return file.read(1)


def _open(path: str, flags: int) -> None:
    os.close(os.open(path, flags, 0o600))


def _send(kind: int, address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, kind) as out:
        out.settimeout(1)
        out.connect(address)
        out.send(b"?")


def _prctl(operation: int, value: int) -> None:
    if ctypes.CDLL(None).prctl(operation, value, 0, 0, 0) != 0:
        raise PermissionError


def _start_process() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _gain_rights() -> None:
    """Fail where this process has no capabilities and no program that it executes can gain any."""
    with open("/proc/self/status") as file:  # noqa: PTH123 - imports nothing
        status = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    if int(status["CapEff"], 16) == 0 and status["NoNewPrivs"].strip() == "1":
        raise PermissionError


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
