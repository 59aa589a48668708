"""Run one engine in a process of its own: shut in, bounded in time and talk, ended with all that it started."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from worker.sandbox.messages import Failed, MalformedOutput, Progress, Succeeded, parse
from worker.sandbox.policy import Confinement

ENGINE = (sys.executable, "-P", "-m", "worker.engine")

_TICK_SECONDS, _SHORT_TICK_SECONDS = 0.1, 0.005
_GRACE_SECONDS = 10.0  # for the keeper to kill what the child has started
_CHUNK = 64 * 1024
_LONGEST_LINE = 64 * 1024
_MOST_OUTPUT = 16 * 1024**2
_KEPT_LOG = 16 * 1024


@dataclass(frozen=True)
class Lost:
    """The child ended without a word, or with one that no honest engine would say."""

    reason: str
    log: str


@dataclass(frozen=True)
class TimedOut:
    """The child was still working when its time was up."""

    seconds: float


@dataclass(frozen=True)
class Stopped:
    """The caller wanted no more of it."""


Outcome = Succeeded | Failed | Lost | TimedOut | Stopped


def run(
    command: tuple[str, ...],
    arguments: list[str],
    confinement: Confinement,
    *,
    seconds: float,
    on_progress: Callable[[Progress], None],
    wanted: Callable[[], bool],
) -> Outcome:
    """Run `command` (the ENGINE) on `arguments` in its cell and return how it ended, with all that it started dead.

    The first final message settles it; whatever the child would still do is of no interest, so it is killed then.
    `wanted` is asked several times a second; when it says no, or raises, the child is killed.
    """
    log = bytearray()
    with subprocess.Popen(  # noqa: S603 - the command is ours
        confinement.command([*command, *arguments], seconds),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=confinement.home,
        env=confinement.environment(),
        start_new_session=True,
    ) as child:
        try:
            return _listen(child, log, seconds, on_progress, wanted)
        except MalformedOutput as error:
            return Lost(str(error), log.decode(errors="replace"))
        finally:
            _end(child)


def _listen(
    child: subprocess.Popen[bytes],
    log: bytearray,
    seconds: float,
    on_progress: Callable[[Progress], None],
    wanted: Callable[[], bool],
) -> Outcome:
    assert child.stdout
    assert child.stderr
    deadline = time.monotonic() + seconds
    lines = _Lines()
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        selector.register(child.stderr, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if not wanted():
                return Stopped()
            ended = _ended(
                child
            )  # asked before reading, so that what a dead child has said is read to its end
            heard = False
            for key, _ in selector.select(0 if ended else _TICK_SECONDS):
                chunk = os.read(key.fd, _CHUNK)
                heard = heard or bool(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is child.stderr:
                    log.extend(chunk)
                    del log[:-_KEPT_LOG]
                else:
                    for message in map(parse, lines.feed(chunk)):
                        if isinstance(message, Progress):
                            on_progress(message)
                        elif isinstance(message, Failed):
                            return replace(message, log=_tail(child, log))
                        else:
                            return message
            if ended and not heard:
                return Lost(_last_sign(child), log.decode(errors="replace"))
            if not selector.get_map():
                time.sleep(_TICK_SECONDS)
    return TimedOut(seconds)


def _tail(child: subprocess.Popen[bytes], log: bytearray) -> str:
    """Return the log with what the child had written to it before it spoke; waits for nothing more."""
    assert child.stderr
    os.set_blocking(child.stderr.fileno(), False)
    rest = child.stderr.read(_KEPT_LOG) or b""
    return (bytes(log) + rest)[-_KEPT_LOG:].decode(errors="replace")


class _Lines:
    """Cuts a stream into lines, and gives up on one that is longer than a message or never ends."""

    def __init__(self) -> None:
        self._rest = b""
        self._total = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        self._total += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if self._total > _MOST_OUTPUT or max(map(len, [*lines, self._rest])) > _LONGEST_LINE:
            raise MalformedOutput("more output than any message needs")
        return lines


def _end(child: subprocess.Popen[bytes]) -> None:
    """Let the keeper kill all that the child has started, and make sure of both; nothing is reaped before."""
    os.kill(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while not _ended(child) and time.monotonic() < deadline:
        time.sleep(_SHORT_TICK_SECONDS)
    os.killpg(child.pid, signal.SIGKILL)


def _ended(child: subprocess.Popen[bytes]) -> bool:
    """Whether the child has ended; leaves it unreaped, so that its group's number cannot pass to a stranger."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _last_sign(child: subprocess.Popen[bytes]) -> str:
    status = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert status is not None  # it waits
    if status.si_code == os.CLD_EXITED:
        return f"it exited with status {status.si_status} and without a result"
    return f"it was killed by signal {status.si_status}"
