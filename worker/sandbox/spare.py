"""The spare child: already confined, it has imported the engine and waits for one job.

Its walls are those of any child. The launcher confines it to an empty scratch folder of its own
before it imports anything. The worker then puts the files of a job into that folder, and sends the
command by standard input. A spare serves one job and is killed, as every child is.

A process that had imported the engine and forked for each job would save more. But all its jobs
would have the same layout of memory, which an attack could learn in one job and use in the next.
"""

import json
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from worker.sandbox import run as sandbox
from worker.sandbox.messages import Progress
from worker.sandbox.policy import Confinement
from worker.sandbox.run import Outcome
from worker.sandbox.scratch import scratch

_WAIT = "wait"  # the command of `worker.engine.__main__`

log = structlog.get_logger(__name__)


class Spare:
    """A waiting child, its scratch folder and its limits; a context that ends and removes both."""

    def __init__(
        self, root: Path, confine: Callable[[Path], Confinement], seconds: float
    ) -> None:
        """Start a child in a new folder under `root`, for `seconds` of CPU time.

        The kernel ends it when the thread that started it ends.
        """
        with ExitStack() as stack:
            self.folder = stack.enter_context(scratch(root))
            self.confinement = confine(self.folder)
            self._places = self._identities()
            command = [*sandbox.ENGINE, _WAIT]
            self._was_attended = False
            self._child = sandbox.start(
                command, self.confinement, seconds, stdin=subprocess.PIPE
            )
            stack.enter_context(self._child)
            stack.callback(self._end)
            self._stack = stack.pop_all()

    def is_usable(self) -> bool:
        """Tell whether the child still waits, and each folder of its own is still the same."""
        if self._was_attended or sandbox.has_ended(self._child):
            return False
        return self._identities() == self._places

    def run(
        self,
        arguments: list[str],
        *,
        seconds: float,
        on_progress: Callable[[Progress], None],
        is_wanted: Callable[[], bool],
        on_log: Callable[[str], object],
    ) -> Outcome:
        """Let the child serve its one command, as `worker.sandbox.run.run` does."""
        assert self._child.stdin
        # A child that has died meanwhile is attended to as any other that dies.
        with suppress(BrokenPipeError):
            self._child.stdin.write(json.dumps(arguments).encode())
            self._child.stdin.flush()
        with suppress(BrokenPipeError):
            self._child.stdin.close()
        self._was_attended = True
        try:
            return sandbox.attend(
                self._child,
                seconds=seconds,
                on_progress=on_progress,
                is_wanted=is_wanted,
                on_log=on_log,
            )
        finally:
            # The next search for remains would take an ended keeper for an orphan.
            self._child.wait()

    def _identities(self) -> list[tuple[int, int] | None]:
        """Return the device and inode of each folder that the rules of Landlock are bound to.

        A folder that has another one's name by now has none of its rights.
        """
        own = self.confinement
        paths = (self.folder, own.home, *own.writable, *own.readable)
        return [_identity(path) for path in paths]

    def _end(self) -> None:
        if not self._was_attended:
            sandbox.end(self._child)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Spares:
    """The spare of this process; there is none until `keep`, and none after `end`."""

    def __init__(self) -> None:
        self._start: Callable[[], Spare] | None = None
        self._spare: Spare | None = None
        self._lock = threading.Lock()

    def keep(self, start: Callable[[], Spare]) -> None:
        """Start a spare, and let `refill` replace it from now on."""
        self._start = start
        self.refill()

    def refill(self) -> None:
        """Start a spare if there is none; call it in a thread that outlives the next job.

        A worker calls it between two jobs, so that no import competes with a job of its own.
        """
        with self._lock:
            if self._start is None or self._spare is not None:
                return
            try:
                self._spare = self._start()
            except OSError as error:
                # The next job starts a child of its own, and reports the cause if it persists.
                log.warning("no spare child could be started", error=str(error))

    def take(self) -> Spare | None:
        """Give the spare to the caller, who ends it; None where there is none that can be used."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is None or spare.is_usable():
            return spare
        log.warning("the spare child cannot be used")
        with spare:
            return None

    def end(self) -> None:
        """End the spare, and start no other."""
        with self._lock:
            self._start = None
            spare, self._spare = self._spare, None
        if spare is not None:
            with spare:
                return


spares = Spares()
