"""Open a hostile file behind chosen walls, and record how it ended and what harm it did."""

import re
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from corpus import Hostile, corpus
from support.service.running_service import is_dead

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
        default_factory=lambda: frozenset(
            child.pid for child in psutil.Process().children()
        )
    )
    """Children of this process that other tests share, which run before any file is opened."""

    def _descendants(self) -> list[psutil.Process]:
        """The processes below this one, without those that other tests share."""
        ours = [
            child
            for child in psutil.Process().children()
            if child.pid not in self.services
        ]
        descendants = list(ours)
        for child in ours:
            with suppress(psutil.NoSuchProcess):
                descendants += child.children(recursive=True)
        return descendants

    def harm(self) -> list[str]:
        """Return the harm that was done to it, and undo it."""
        harm = []
        secret = self.outside / "secret"
        is_intact = (
            secret.exists() and not secret.is_symlink() and secret.read_text() == SECRET
        )
        if not is_intact:
            harm.append("a file outside was changed")
        if {path.name for path in self.outside.iterdir()} - {"secret"}:
            harm.append("a file outside was written")
        for path in self.outside.iterdir():
            path.unlink()
        secret.write_text(SECRET)
        calls = [_called(listener) for listener in self.listening]
        if any(calls):
            harm.append("another process was called")
        if Path("/tmp/evil").exists() or Path("/etc/evil").exists():
            harm.append("a name was followed")
        if not all(map(is_dead, self._descendants())):
            harm.append("a process was left")
        return harm


@contextmanager
def world() -> Iterator[World]:
    """Make the world around the files, and the files that know it."""
    with ExitStack() as stack:
        outside = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="convpress-outside-")
            )
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
    verdict: str | None = None
    """The third wall's verdict on the output; None where the child left none."""

    @property
    def summary(self) -> str:
        """The end in few words."""
        match self.outcome:
            case Failed(error=error):
                return f"fails: {error['code']}"
            case TimedOut():
                return "killed at its time"
            case Lost(reason=reason):
                return f"lost: {reason}"
            case _:
                return self.verdict or "succeeds"


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

    `limits` turns the first wall on, `landlock` and `seccomp` the halves of the second, `take` the
    third. Time and memory are always bounded: some files would exhaust this machine.
    """
    with (
        tempfile.TemporaryDirectory(prefix="convpress-opened-") as name,
        scratch(Path(name, "scratch")) as folder,
    ):
        home = folder / "work"
        inputs = folder / "input"
        names = {"torchscript": "model.pt", "pt2": "model.pt2", "program": "program.py"}
        model = inputs / names.get(file.kind, "model.onnx")
        model.write_bytes(file.content)
        before = model.stat().st_mtime_ns
        confinement = Confinement(
            home, readable=(inputs,), memory_bytes=_MEMORY, file_bytes=_LARGEST, **walls
        )
        if file.kind == "program":
            command = (sys.executable, "-I", str(model))
            arguments = []
        else:
            files = (str(model), file.format, str(home / "out"), str(home / "report"))
            request = Request(
                *files,
                {"flops_budget": "0.5"},
                "1x1x8x8",
                calibration="none",
                limits=limits,
            )
            command = sandbox.ENGINE
            arguments = [request.to_json()]
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
        if (home / "loot").exists() or _SECRET_AS_TENSOR.search(
            getattr(outcome, "log", "")
        ):
            harm.append("it read the secret")
        verdict = None
        if take and isinstance(outcome, Succeeded):
            verdict = _verdict(file, home, Path(name))
        return Opened(outcome, harm, verdict)


def _verdict(file: Hostile, home: Path, folder: Path) -> str:
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
        return f"refused: {error}"
    return "accepted"
