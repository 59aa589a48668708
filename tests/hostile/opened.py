"""Open a hostile file with whatever walls are asked for, and see what came of it, to the file and
to the world.
"""

import re
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from corpus import Hostile, corpus

from app.storage.local import LocalStorage
from convpress.limits import Limits
from worker.engine.request import Request
from worker.jobs import results
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Failed, MalformedOutput, Succeeded
from worker.sandbox.policy import Confinement
from worker.sandbox.run import Lost, Outcome, TimedOut
from worker.sandbox.scratch import scratch

SECRET = "secret"
_SECRET_AS_TENSOR = re.compile(r"\D+".join(str(byte) for byte in SECRET.encode()))
_LARGEST = 512 * 1024**2
_MEMORY = 3 * 1024**3


@dataclass
class World:
    """What hostile files try to reach: a folder with a secret, and a port of another process."""

    outside: Path
    listening: list[socket.socket]
    files: list[Hostile] = field(default_factory=list)
    services: frozenset[int] = field(
        default_factory=lambda: frozenset(child.pid for child in psutil.Process().children())
    )
    """Children of this process that other tests share, which run before any file is opened."""

    def _descendants(self) -> list[psutil.Process]:
        """The processes below this one, without those that other tests share."""
        ours = [child for child in psutil.Process().children() if child.pid not in self.services]
        return [*ours, *(below for child in ours for below in child.children(recursive=True))]

    def harm(self) -> list[str]:
        """What has been done to it, which is then undone."""
        done = []
        if (
            (secret := self.outside / "secret").is_symlink()
            or not secret.exists()
            or secret.read_text() != SECRET
        ):
            done.append("a file outside was changed")
        if {path.name for path in self.outside.iterdir()} - {"secret"}:
            done.append("a file outside was written")
        for path in self.outside.iterdir():
            path.unlink()
        secret.write_text(SECRET)
        done += ["another process was called" for listener in self.listening if _called(listener)][
            :1
        ]
        if Path("/tmp/evil").exists() or Path("/etc/evil").exists():
            done.append("a name was followed")
        left = [process for process in self._descendants() if process.status() != "zombie"]
        return [*done, *(["a process was left"] if left else [])]


@contextmanager
def world() -> Iterator[World]:
    """Make the world around the files, and the files that know it."""
    with ExitStack() as stack:
        outside = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="convpress-outside-"))
        )
        (outside / "secret").write_text(SECRET)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(tcp.getsockname())
        for listener in (tcp, udp):
            listener.setblocking(False)
        yield World(outside, [tcp, udp], corpus(outside, tcp.getsockname()[1]))


def _called(listener: socket.socket) -> bool:
    try:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(10)
        else:
            listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True)
class Opened:
    """How opening one file ended, and what harm was done meanwhile."""

    outcome: Outcome
    harm: list[str]
    taken: str | None = None
    """What the third wall said of what was left; None where the child left nothing to take."""

    @property
    def told(self) -> str:
        """The end in few words."""
        match self.outcome:
            case Failed(error=error):
                return f"fails: {error['code']}"
            case TimedOut():
                return "killed at its time"
            case Lost(reason=reason):
                return f"lost: {reason}"
            case _:
                return self.taken or "succeeds"


def opened(
    file: Hostile,
    world: World,
    *,
    limits: Limits | None = None,
    take: bool = False,
    seconds: float = 15.0,
    **walls: bool,
) -> Opened:
    """Open a file in a child of its own.

    `limits` puts the first wall before it, `landlock` and `seccomp` set up the second or do not,
    `take` puts the third behind it. Time and memory are bounded always: without that some would
    take this machine along.
    """
    with (
        tempfile.TemporaryDirectory(prefix="convpress-opened-") as name,
        scratch(Path(name, "scratch")) as folder,
    ):
        home, given = folder / "work", folder / "input"
        model = given / {"torchscript": "model.pt", "program": "program.py"}.get(
            file.kind, "model.onnx"
        )
        model.write_bytes(file.content)
        before = model.stat().st_mtime_ns
        confinement = Confinement(
            home, readable=(given,), memory_bytes=_MEMORY, file_bytes=_LARGEST, **walls
        )
        if file.kind == "program":
            command, arguments = (sys.executable, "-I", str(model)), []
        else:
            files = (str(model), file.format, str(home / "out"), str(home / "report"))
            request = Request(
                *files, {"flops_budget": "0.5"}, "1x1x8x8", calibration="none", limits=limits
            )
            command, arguments = sandbox.ENGINE, [request.to_json()]
        outcome = sandbox.run(
            command,
            arguments,
            confinement,
            seconds=seconds,
            on_progress=lambda _: None,
            is_wanted=lambda: True,
        )
        harm = world.harm()
        if model.stat().st_mtime_ns != before or model.read_bytes() != file.content:
            harm.append("the upload was changed")
        if (home / "loot").exists() or _SECRET_AS_TENSOR.search(getattr(outcome, "log", "")):
            harm.append("it got what it wanted")
        taken = _taken(file, home, Path(name)) if take and isinstance(outcome, Succeeded) else None
        return Opened(outcome, harm, taken)


def _taken(file: Hostile, home: Path, folder: Path) -> str:
    try:
        results.store(
            uuid.uuid4(),
            home / "out",
            home / "report",
            file.format,
            largest=_LARGEST,
            limits=Limits(),
            storage=LocalStorage(folder / "storage"),
        )
    except MalformedOutput as error:
        return f"not taken: {error}"
    return "taken"
