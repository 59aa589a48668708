"""Try every hostile file against each wall alone, and then against the running service.

    make walls
    make walls ONLY='bundle: tar'

It writes the table as Markdown to a path, and fails where a wall lets through what it must stop.
With a pattern it tries the files whose titles have it, and keeps the rows of the others.
"""

import platform
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from corpus import Hostile
from opened import Opened, World, opened, world
from support.service.health import Health
from support.service.running_service import ENGINE, Service, serving, wait_for

from convpress.gate.check import require_safe
from convpress.limits import Limits
from convpress.refusal import Refusal
from worker.sandbox import launcher

FILES = frozenset({"files at load", "files at run", "names that are paths", "links"})
CALLS = frozenset({"network", "processes and threads", "rights"})
LIES = "lies about what came out"
_HEAD = """# Hostile files, wall by wall

`make walls` generated this table. It tries each file of the corpus against each wall with the other
walls switched off, and uploads it to a running service, with all walls. `make hostile` tests the
same.

- **Wall 1**: the result of the gate, which checks the container. `passes` means that the container
  shows nothing hostile: most of these files only work without end.
- **Wall 2**: the sandbox opens the file without the gate, and nothing validates the output. `held`
  means that the file read, changed and called nothing outside the scratch folder, and that no
  process remained. The end of the child process follows.
- **Half of wall 2**: the same with one half of the sandbox alone: Landlock for some classes of
  files, seccomp for others.
- **Wall 3**: the file is opened without the gate, Landlock and seccomp. The worker validates the
  output against its schema and caps. This wall protects the service from a child's output, but does
  not prevent harm. The table names the harm.
- **All**: the code of the refused upload or the failed job. The service answered during the whole
  run.

A program represents a model that can run machine code. It runs in place of the engine, and as an
upload it is no model. All columns bound time and memory, to protect the machine.

"""
_TABLE = """\
| File | Class | Wall 1 | Wall 2 | Half of wall 2 | Wall 3 | All |
|---|---|---|---|---|---|---|
"""


def first(file: Hostile, path: Path) -> str:
    """Return the code of the first wall alone."""
    path.write_bytes(file.content)
    try:
        require_safe(path, file.format, Limits())
    except Refusal as refusal:
        return str(refusal.code)
    return "passes"


def second(file: Hostile, around: World) -> Opened:
    """Open a file behind the second wall alone."""
    return opened(file, around)


def half(file: Hostile, around: World) -> tuple[str, Opened] | None:
    """Open a file behind the half of the second wall that stops its class; None without one."""
    if file.threat in FILES:
        return "Landlock", opened(file, around, seccomp=False)
    if file.threat in CALLS and file.kind == "program":
        return "seccomp", opened(file, around, landlock=False)
    return None


def third(file: Hostile, around: World) -> Opened:
    """Open a file behind the third wall alone."""
    return opened(file, around, landlock=False, seccomp=False, take=True)


def faults(
    file: Hostile,
    code: str,
    sandboxed: Opened,
    halved: Opened | None,
    validated: Opened,
) -> list[str]:
    """Return the walls that let through what they must stop."""
    walls = []
    if (code == "passes") is file.refused:
        walls.append("wall 1")
    if sandboxed.harm:
        walls.append("wall 2")
    if halved and halved.harm:
        walls.append("half of wall 2")
    if file.threat == LIES and validated.summary in ("accepted", "succeeds"):
        walls.append("wall 3")
    return [f"{file.title}: {wall}" for wall in walls]


def _held(result: Opened) -> str:
    return f"{', '.join(result.harm) or 'held'}; {result.summary}"


class Served(NamedTuple):
    """The codes of the posted files, and the longest wait for the service's health meanwhile."""

    codes: list[str]
    seconds: float


def served(files: list[Hostile]) -> Served:
    """Post every file to a running service.

    The service must also have served an honest model and left nothing.
    """
    with tempfile.TemporaryDirectory(prefix="convpress-served-") as name:
        data = Path(name, "data")
        with serving(
            data,
            job_memory_bytes=str(3 * 1024**3),
            job_timeout_seconds="15",
            owner_unfinished_jobs="1000",
        ) as service:
            with Health(str(service.http.base_url)) as health:
                codes = [_posted(service, file) for file in files]
            honest = service.wait(service.post()["id"])
            if honest["state"] != "succeeded":
                raise SystemExit(f"the service no longer compresses: {honest['error']}")
            wait_for(lambda: not service.children(ENGINE), "the last child to end")
            wait_for(
                lambda: not any((data / "scratch").iterdir()),
                "the scratch folder to be empty",
            )
            return Served(codes, health.longest)


def _posted(service: Service, file: Hostile) -> str:
    form = {"flops_budget": "0.5", "input_shape": "1x1x8x8", "calibration": "none"}
    answer = service.http.post(
        "/jobs", data=form, files={"model": ("model", file.content)}
    )
    if answer.status_code != 202:
        return f"{answer.status_code} {answer.json()['code']}"
    job = service.wait(answer.json()["id"])
    return job["error"]["code"] if job["error"] else job["state"]


def _plain(text: str, outside: Path) -> str:
    """A cell of the table, short, and the same in every run."""
    text = " ".join(text.replace(str(outside), "OUTSIDE").replace("|", "/").split())
    return text if len(text) < 160 else f"{text[:157]}..."


def main(path: Path, only: str = "") -> None:
    """Try every file whose title has a pattern, and write the table."""
    if launcher.landlock_version() < 4 or launcher.load_libseccomp() is None:
        raise SystemExit("needs Landlock 4 and libseccomp")
    began = time.monotonic()
    rows: list[list[str]] = []
    wrong: list[str] = []
    with world() as around, tempfile.TemporaryDirectory() as scratch:
        files = [file for file in around.files if re.search(only, file.title)]
        for file in files:
            cells, broken = _tried(file, around, Path(scratch, "model"))
            rows.append(cells)
            wrong += broken
            sys.stderr.write(f"{len(rows)}/{len(files)} {cells}\n")
        service = served(files)
        for row, code in zip(rows, service.codes, strict=True):
            row.append(code)
        if harm := around.harm():
            wrong.append(f"the service: {', '.join(harm)}")
    minutes = (time.monotonic() - began) / 60
    lines = {file.title: "" for file in around.files}
    lines.update(_kept(path, lines))
    lines.update((row[0], _line(row, around.outside)) for row in rows)
    known = [file for file in around.files if lines[file.title]]
    run = f"The last run tried {len(rows)} of them, in {minutes:.0f} minutes"
    run += f"; `/healthz` answered within {service.seconds:.1f} s throughout the uploads.\n\n"
    table = _TABLE + "".join(lines[file.title] for file in known)
    path.write_text(_HEAD + _summary(known) + run + table)
    if wrong:
        raise SystemExit("\n".join(wrong))


def _tried(file: Hostile, around: World, model: Path) -> tuple[list[str], list[str]]:
    """Return a file's row, up to the column of the service, and the walls that failed."""
    code = first(file, model)
    sandboxed = second(file, around)
    by_half = half(file, around)
    validated = third(file, around)
    part = ""
    halved = None
    if by_half is not None:
        name, halved = by_half
        part = f"{name}: {_held(halved)}"
    last = "; ".join([validated.summary, ", ".join(validated.harm)]).removesuffix("; ")
    cells = [file.title, file.threat, code, _held(sandboxed), part, last]
    return cells, faults(file, code, sandboxed, halved, validated)


def _summary(files: list[Hostile]) -> str:
    release = platform.release().split("-")[0]
    counts = Counter(file.threat for file in files).most_common()
    threats = ", ".join(f"{threat} {count}" for threat, count in counts)
    system = f"on Linux {release} with Landlock {launcher.landlock_version()}"
    return f"{len(files)} files, {system}: {threats}.\n\n"


def _line(row: list[str], outside: Path) -> str:
    cells = [_plain(text, outside) for text in row]
    return f"| {' | '.join(cells)} |\n"


def _kept(path: Path, titles: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the rows that a table has already, of files that are still tried."""
    if not path.exists():
        return
    for line in path.read_text().splitlines(keepends=True):
        _, _, rest = line.partition("| ")
        title = rest.partition(" | ")[0]
        if title in titles:
            yield title, line


if __name__ == "__main__":
    # torch announces the end of TorchScript
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    main(Path(sys.argv[1]), *sys.argv[2:])
