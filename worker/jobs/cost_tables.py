"""The cost tables of this host: their paths, and the benchmark that measures them in a sandbox.

The child of the benchmark reads no model, so that no model can influence the costs of layers.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.settings import Settings
from convpress.formats import FORMATS, Format
from worker.sandbox import doctor, outputs
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Progress, Succeeded
from worker.sandbox.run import ENGINE
from worker.sandbox.scratch import scratch

if TYPE_CHECKING:  # a table's arithmetic needs numpy, which no worker loads
    from worker.engine.costs.table import CostTable

_SECONDS = 1800.0
_LARGEST_BYTES = 4 * 1024**2
# This limit ends a child that writes on and on; a table is checked against `_LARGEST_BYTES`.
_FILE_BYTES = 64 * _LARGEST_BYTES


class NotMeasuredError(Exception):
    """The benchmark did not finish; the message says how it ended."""


def path_of(settings: Settings, model_format: Format) -> Path:
    """Return the path of the table of a format's runtime; the file need not exist."""
    return settings.costs_folder / f"{FORMATS[model_format].timed_as}.json"


def known(settings: Settings, model_format: Format) -> Path | None:
    """Return the table of a format's runtime, if there is one."""
    path = path_of(settings, model_format)
    if not path.is_file():
        return None
    return path


def digest(path: Path | None) -> str | None:
    """Return the SHA-256 of a table; None without one."""
    if path is None:
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()


def calibrate(
    settings: Settings, on_progress: Callable[[Format, Progress], None]
) -> "list[CostTable]":
    """Measure the tables of all runtimes; each replaces its earlier one when it is complete.

    Raises:
        NotMeasuredError: a benchmark failed.
        SandboxIncomplete: this host cannot build a sandbox.
    """
    doctor.require(settings)
    settings.costs_folder.mkdir(parents=True, exist_ok=True)
    measured = dict.fromkeys(spec.timed_as for spec in FORMATS.values())
    return [_calibrate(settings, each, on_progress) for each in measured]


def _calibrate(
    settings: Settings, model_format: Format, on_progress: Callable[[Format, Progress], None]
) -> "CostTable":
    from worker.engine.costs import table as cost_table

    with scratch(Path(tempfile.gettempdir())) as folder:
        measured = folder / "output" / "costs.json"
        confinement = doctor.confined(
            folder / "work",
            readable=(),
            writable=(folder / "output",),
            memory_bytes=settings.job_memory_bytes,
            file_bytes=_FILE_BYTES,
        )
        outcome = sandbox.run(
            ENGINE,
            ["calibrate-host", model_format, str(measured)],
            confinement,
            seconds=_SECONDS,
            on_progress=lambda progress: on_progress(model_format, progress),
            is_wanted=lambda: True,
        )
        if not isinstance(outcome, Succeeded):
            raise NotMeasuredError(f"the benchmark of {model_format} was not done: {outcome}")
        table = cost_table.read(measured, model_format)
        _put(measured, path_of(settings, model_format))
        return table


def _put(measured: Path, target: Path) -> None:
    """Copy a table that a child wrote, and rename the copy, so that no reader sees half a table."""
    part = target.with_suffix(".part")
    with outputs.open_plain(measured, _LARGEST_BYTES) as file, part.open("wb") as copy:
        shutil.copyfileobj(file, copy)
    part.replace(target)
