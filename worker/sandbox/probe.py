"""What a hostile model would try, tried in its cell: prints what it got away with, by wall, as JSON.

Runs in an interpreter that imports nothing else: python -I -S probe.py ASKED
"""

import json
import mmap
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

WALLS = {
    "files": "a model reads nothing but itself and the installation, and writes only to its scratch folder",
    "network": "a model reaches no network and no other process",
    "processes": "a model starts no processes and signals none",
    "memory": "a model takes no more memory than a job may use",
    "rights": "a model has no privileges and can gain none",
}


def _attempts(asked: dict[str, Any]) -> dict[str, dict[str, Callable[[], object]]]:
    def read(path: str) -> object:
        with open(path, "rb") as file:  # noqa: PTH123 - imports nothing
            return file.read(1)

    def write(path: str, flags: int) -> None:
        os.close(os.open(path, os.O_WRONLY | flags, 0o600))

    def send(family: int, kind: int, address: tuple[str, int]) -> None:
        with socket.socket(family, kind) as out:
            out.settimeout(1)
            out.connect(address)
            out.send(b"?")

    def start() -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    return {
        "files": {
            "it read a file outside": lambda: read(asked["secret"]),
            "it read the worker's environment": lambda: read(f"/proc/{asked['worker']}/environ"),
            "it could write to the upload": lambda: write(asked["upload"], 0),
            "it could shorten the upload": lambda: os.truncate(asked["upload"], 0),
            "it could shorten what it opened to read": lambda: os.close(
                os.open(asked["upload"], os.O_TRUNC)
            ),
            "it made a file outside": lambda: write(asked["secret"] + ".new", os.O_CREAT),
            "it could take the rights to a file outside": lambda: os.chmod(asked["secret"], 0o600),  # noqa: PTH101 - as above
            "it made a link": lambda: os.symlink("/", "link"),  # noqa: PTH211 - imports nothing
        },
        "network": {
            "it connected by TCP": lambda: send(
                socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", asked["port"])
            ),
            "it sent by UDP": lambda: send(
                socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", asked["port"])
            ),
            "it opened a UNIX socket": lambda: socket.socket(socket.AF_UNIX).close(),
        },
        "processes": {
            "it started a process": start,
            "it could signal the worker": lambda: os.kill(asked["worker"], 0),
            "it could slow the worker down": lambda: os.setpriority(
                os.PRIO_PROCESS, asked["worker"], asked["nice"]
            ),
        },
        "memory": {
            "it took more memory": lambda: mmap.mmap(
                -1, asked["memory"], mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            ),
            **(
                {"it took more memory to share": lambda: mmap.mmap(-1, asked["memory"])}
                if asked["shared_too"]
                else {}
            ),
        },
        "rights": {"it has capabilities, or could gain them": _capable},
    }


def main(asked: dict[str, Any]) -> None:
    """Try everything, and print what succeeded."""
    escapes = {
        wall: [what for what, attempt in attempts.items() if _works(attempt)]
        for wall, attempts in _attempts(asked).items()
    }
    sys.stdout.write(json.dumps(escapes))


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, MemoryError):
        return False
    return True


def _capable() -> None:
    with open("/proc/self/status") as file:  # noqa: PTH123 - imports nothing
        said = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    if int(said["CapEff"], 16) == 0 and said["NoNewPrivs"].strip() == "1":
        raise PermissionError


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
