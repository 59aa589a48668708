"""One engine in a child process: sandboxed, and limited in time and output."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from worker.sandbox.log_text import log_text
from worker.sandbox.messages import Failed, MalformedOutput, Progress, Succeeded, parse
from worker.sandbox.policy import Confinement
from worker.sandbox.remains import kill_remains, start_keeper

ENGINE = (sys.executable, "-P", "-m", "worker.sandbox.start_engine")

_TICK_SECONDS = 0.1
_SHORT_TICK_SECONDS = 0.005
# The keeper in the launcher needs this long at most to kill the processes that the child started.
_GRACE_SECONDS = 10.0
_CHUNK = 64 * 1024
# An honest engine stays far below these; a child that does not is not read any further.
_LONGEST_LINE = 64 * 1024
_MOST_OUTPUT = 16 * 1024**2
# A process brings these upon itself; others come from outside, or from the system's lack of memory.
_FAULTS = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGABRT,
        signal.SIGTRAP,
    }
)
# The end of standard error is enough for a traceback.
_KEPT_LOG = 16 * 1024


@dataclass(frozen=True)
class Lost:
    """The child ended without a final message, or sent a message that no honest engine would."""

    reason: str
    log: str


@dataclass(frozen=True)
class Crashed(Lost):
    """The child ended by a fault of its own code, which another attempt would only repeat."""


@dataclass(frozen=True)
class TimedOut:
    """The child was still working after its time limit."""

    seconds: float


@dataclass(frozen=True)
class Stopped:
    """The caller did not want the result any more."""


Outcome = Succeeded | Failed | Lost | TimedOut | Stopped


def run(
    command: tuple[str, ...],
    arguments: list[str],
    confinement: Confinement,
    *,
    seconds: float,
    on_progress: Callable[[Progress], None],
    is_wanted: Callable[[], bool],
    on_log: Callable[[str], object] = lambda _: None,
) -> Outcome:
    """Run `command` (the ENGINE) on `arguments` in a sandbox and return its outcome.

    The first final message is the outcome; the child and all its processes are killed then.
    `is_wanted` is called several times a second; the child is killed as soon as it returns False or
    raises. `on_log` receives the end of the child's standard error, whatever the outcome.
    """
    with start([*command, *arguments], confinement, seconds) as child:
        return attend(
            child,
            seconds=seconds,
            on_progress=on_progress,
            is_wanted=is_wanted,
            on_log=on_log,
        )


def start(
    command: list[str],
    confinement: Confinement,
    seconds: float,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a command in a sandbox, for `seconds` of CPU time; pass the child to `attend`."""

    def open_keeper() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - the command is ours
            confinement.command(command, seconds),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=confinement.home,
            env=confinement.environment(),
            start_new_session=True,
        )

    return start_keeper(open_keeper)


def attend(
    child: subprocess.Popen[bytes],
    *,
    seconds: float,
    on_progress: Callable[[Progress], None],
    is_wanted: Callable[[], bool],
    on_log: Callable[[str], object] = lambda _: None,
) -> Outcome:
    """Wait for the outcome of a child, and kill it with all its processes then."""
    log = bytearray()
    try:
        return _listen(child, log, seconds, on_progress, is_wanted)
    except MalformedOutput as error:
        return Lost(str(error), log_text(log))
    finally:
        end(child)
        on_log(_tail(child, log))


def _listen(
    child: subprocess.Popen[bytes],
    log: bytearray,
    seconds: float,
    on_progress: Callable[[Progress], None],
    is_wanted: Callable[[], bool],
) -> Outcome:
    assert child.stdout
    assert child.stderr
    deadline = time.monotonic() + seconds
    lines = _Lines()
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        selector.register(child.stderr, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if not is_wanted():
                return Stopped()
            # Before reading, so that the output of a dead child is read to its end.
            ended = has_ended(child)
            has_output = False
            for key, _ in selector.select(0 if ended else _TICK_SECONDS):
                chunk = os.read(key.fd, _CHUNK)
                has_output = has_output or bool(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is child.stderr:
                    log.extend(chunk)
                    del log[:-_KEPT_LOG]
                elif final := _first_final(lines.feed(chunk), on_progress):
                    return _with_log(final, child, log)
            if ended and not has_output:
                return _ending(child, log_text(log))
            # Both pipes are closed and the child is alive: there is nothing to select.
            if not selector.get_map():
                time.sleep(_TICK_SECONDS)
    return TimedOut(seconds)


def _first_final(
    lines: Iterable[bytes], on_progress: Callable[[Progress], None]
) -> Failed | Succeeded | None:
    """Report the progress messages up to the first final one, and return that."""
    for line in lines:
        message = parse(line)
        if not isinstance(message, Progress):
            return message
        on_progress(message)
    return None


def _with_log(
    final: Failed | Succeeded, child: subprocess.Popen[bytes], log: bytearray
) -> Failed | Succeeded:
    if isinstance(final, Failed):
        return replace(final, log=_tail(child, log))
    return final


def _tail(child: subprocess.Popen[bytes], log: bytearray) -> str:
    """Return the end of standard error, with the output before the final message.

    Wait for nothing more.
    """
    assert child.stderr
    os.set_blocking(child.stderr.fileno(), False)
    log.extend(child.stderr.read(_KEPT_LOG) or b"")
    del log[:-_KEPT_LOG]
    return log_text(log)


class _Lines:
    """Cuts a stream into lines; refuses a line longer than any message and an endless stream."""

    def __init__(self) -> None:
        self._rest = b""
        self._total = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        self._total += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        longest = max(len(line) for line in (*lines, self._rest))
        if self._total > _MOST_OUTPUT or longest > _LONGEST_LINE:
            raise MalformedOutput("more output than any message needs")
        return lines


def end(child: subprocess.Popen[bytes]) -> None:
    """Make the keeper kill all processes of the child, and kill what is left then.

    Reap neither before.
    """
    os.kill(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while not has_ended(child) and time.monotonic() < deadline:
        time.sleep(_SHORT_TICK_SECONDS)
    os.killpg(child.pid, signal.SIGKILL)
    while not has_ended(child):
        time.sleep(_SHORT_TICK_SECONDS)
    kill_remains(child.pid)


def has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Tell whether the child has ended; unreaped, so that no other process gets its number."""
    return (
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    )


def _ending(child: subprocess.Popen[bytes], log: str) -> Lost:
    """Return the way in which a child ended that sent no final message."""
    status = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert status is not None  # it waits
    if status.si_code == os.CLD_EXITED:
        return Lost(
            f"it exited with status {status.si_status} and without a result", log
        )
    reason = f"it was killed by signal {status.si_status}"
    if status.si_status in _FAULTS:
        return Crashed(reason, log)
    return Lost(reason, log)
