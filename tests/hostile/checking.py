"""The gate in a process with limits, which says what each check took.

`python tests/hostile/checking.py` reads paths, one a line, and writes a line of JSON for each.
"""

import json
import resource
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from convpress.gate.check import require_safe
from convpress.gate.identify import identify
from convpress.limits import Limits
from convpress.refusal import Refusal

_MEMORY_BYTES = 2 * 1024**3
# Far above what any check takes on a busy machine.
_SECONDS = 300.0


@dataclass(frozen=True)
class Checked:
    """How a check ended, with its processor time and the memory that it took at its peak.

    `end` is `passed`, the code of the refusal, `died` or `endless`.
    """

    end: str
    seconds: float = 0.0
    peak_bytes: int = 0


class Checker:
    """A process that checks one file after the other, and is replaced where a file ends it."""

    def __init__(self) -> None:
        self._process = _started()

    def __enter__(self) -> "Checker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def check(self, path: Path) -> Checked:
        """Check a file."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        readable, _, _ = select.select([self._process.stdout], [], [], _SECONDS)
        line = self._process.stdout.readline() if readable else ""
        if line:
            return Checked(**json.loads(line))
        self._end()
        self._process = _started()
        return Checked("died" if readable else "endless")

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()


def _started() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _check(path: Path) -> Checked:
    # The kernel forgets the peak so far.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    started = time.process_time()
    try:
        require_safe(path, identify(path), Limits())
        end = "passed"
    except Refusal as refusal:
        end = str(refusal.code)
    seconds = time.process_time() - started
    return Checked(end, seconds, max(0, _status("VmHWM") - before))


def _status(name: str) -> int:
    """Return a size from the status of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise LookupError(name)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    for line in sys.stdin:
        checked = _check(Path(line.rstrip("\n")))
        sys.stdout.write(json.dumps(vars(checked)) + "\n")
        sys.stdout.flush()
