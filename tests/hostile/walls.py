"""Every hostile file against each wall alone, and then against the running service.

    make walls

Writes the table as Markdown to the path that it is given, and fails where a wall lets through what
it is there to stop.
"""

import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from corpus import Hostile
from opened import Opened, World, opened, world
from support.running_service import Service, serving, wait_for

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


def first(file: Hostile, path: Path) -> str:
    """What the first wall alone says."""
    path.write_bytes(file.content)
    try:
        require_safe(path, file.format, Limits())
    except Refusal as refusal:
        return str(refusal.code)
    return "passes"


def second(file: Hostile, around: World) -> Opened:
    """What the second wall alone leaves of it."""
    return opened(file, around)


def half(file: Hostile, around: World) -> tuple[str, Opened] | None:
    """What the half of the second wall alone leaves of it that is there for its class."""
    if file.threat in FILES:
        return "Landlock", opened(file, around, seccomp=False)
    if file.threat in CALLS and file.kind == "program":
        return "seccomp", opened(file, around, landlock=False)
    return None


def third(file: Hostile, around: World) -> Opened:
    """What the third wall alone makes of it."""
    return opened(file, around, landlock=False, seccomp=False, take=True)


def faults(
    file: Hostile, said: str, cell_alone: Opened, half_alone: Opened | None, belief: Opened
) -> list[str]:
    """What a wall should have stopped and did not."""
    found = ["wall 1"] if (said == "passes") is file.refused else []
    found += ["wall 2"] if cell_alone.harm else []
    found += ["half of wall 2"] if half_alone and half_alone.harm else []
    found += ["wall 3"] if file.threat == LIES and belief.told in ("taken", "succeeds") else []
    return [f"{file.title}: {wall}" for wall in found]


def _held(result: Opened) -> str:
    return f"{', '.join(result.harm) or 'held'}; {result.told}"


def served(files: list[Hostile]) -> list[str]:
    """Post every file to a running service; return the codes.

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
            codes = [_posted(service, file) for file in files]
            honest = service.wait(service.post()["id"])
            if honest["state"] != "succeeded":
                raise SystemExit(f"the service no longer compresses: {honest['error']}")
            wait_for(lambda: not service.children("worker.engine"), "the last child to end")
            wait_for(
                lambda: not any((data / "scratch").iterdir()), "the scratch folder to be empty"
            )
            return codes


def _posted(service: Service, file: Hostile) -> str:
    form = {"flops_budget": "0.5", "input_shape": "1x1x8x8", "calibration": "none"}
    answer = service.http.post("/jobs", data=form, files={"model": ("model", file.content)})
    if answer.status_code != 202:
        return f"{answer.status_code} {answer.json()['code']}"
    job = service.wait(answer.json()["id"])
    return job["error"]["code"] if job["error"] else job["state"]


def _plain(text: str, outside: Path) -> str:
    """A cell of the table, short, and the same in every run."""
    text = " ".join(text.replace(str(outside), "OUTSIDE").replace("|", "/").split())
    return text if len(text) < 160 else f"{text[:157]}..."


def main(path: Path) -> None:
    """Try everything and write the table."""
    if launcher.landlock_version() < 4 or launcher.load_libseccomp() is None:
        raise SystemExit("needs Landlock 4 and libseccomp")
    began = time.monotonic()
    rows, wrong = [], []
    with world() as around, tempfile.TemporaryDirectory() as scratch:
        for file in around.files:
            said = first(file, Path(scratch, "model"))
            cell_alone, half_alone, belief = (
                second(file, around),
                half(file, around),
                third(file, around),
            )
            wrong += faults(file, said, cell_alone, half_alone and half_alone[1], belief)
            shown = f"{half_alone[0]}: {_held(half_alone[1])}" if half_alone else ""
            done = f"; {', '.join(belief.harm)}" if belief.harm else ""
            rows.append(
                [file.title, file.threat, said, _held(cell_alone), shown, belief.told + done]
            )
            sys.stderr.write(f"{len(rows)}/{len(around.files)} {rows[-1]}\n")
        for row, code in zip(rows, served(around.files), strict=True):
            row.append(code)
        if harm := around.harm():
            wrong.append(f"the service: {', '.join(harm)}")
    version = subprocess.run(
        ["uname", "-r"], capture_output=True, text=True, check=True
    ).stdout.split("-")[0]
    threats = ", ".join(
        f"{threat} {count}" for threat, count in Counter(row[1] for row in rows).most_common()
    )
    lines = [
        f"{len(rows)} files, on Linux {version} with Landlock {launcher.landlock_version()}, in "
        f"{(time.monotonic() - began) / 60:.0f} minutes: {threats}.\n",
        "| File | Class | Wall 1 | Wall 2 | Half of wall 2 | Wall 3 | All |",
        "|---|---|---|---|---|---|---|",
        *(f"| {' | '.join(_plain(text, around.outside) for text in row)} |" for row in rows),
    ]
    path.write_text(_HEAD + "\n".join(lines) + "\n")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    warnings.filterwarnings(
        "ignore", category=DeprecationWarning
    )  # torch announces the end of TorchScript
    main(Path(sys.argv[1]))
