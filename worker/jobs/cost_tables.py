"""The cost tables of this host: where they lie, and the benchmark that measures them, in a cell like every engine.

The benchmark's child never sees a model, so that no model can say what layers cost.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.settings import Settings
from convpress.formats import FORMATS, Format
from worker.jobs import results
from worker.sandbox import doctor
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Progress, Succeeded
from worker.sandbox.run import ENGINE
from worker.sandbox.scratch import scratch

if TYPE_CHECKING:  # a table's arithmetic needs numpy, which no worker loads
    from worker.engine.costs.table import CostTable

_SECONDS = 1800.0
_LARGEST_BYTES = 4 * 1024**2


class NotMeasuredError(Exception):
    """The benchmark did not come to an end; says how it ended."""


def path_of(settings: Settings, model_format: Format) -> Path:
    """Return where the table of a format's runtime lies, whether it is there or not."""
    return settings.costs_folder / f"{model_format}.json"


def known(settings: Settings, model_format: Format) -> Path | None:
    """Return the table of a format's runtime, if there is one."""
    path = path_of(settings, model_format)
    return path if path.is_file() else None


def digest(path: Path | None) -> str | None:
    """Return what tells a table from any other, as it lies there."""
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def calibrate(
    settings: Settings, on_progress: Callable[[Format, Progress], None]
) -> "list[CostTable]":
    """Measure the tables of all formats and put them in their place, each whole or not at all.

    Raises:
        NotMeasuredError: a benchmark failed.
        WallsMissing: this host cannot shut anything in.
    """
    doctor.require(settings)
    settings.costs_folder.mkdir(parents=True, exist_ok=True)
    return [_calibrate(settings, each, on_progress) for each in FORMATS]


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
            file_bytes=64 * _LARGEST_BYTES,
        )
        outcome = sandbox.run(
            ENGINE,
            ["calibrate-host", model_format, str(measured)],
            confinement,
            seconds=_SECONDS,
            on_progress=lambda said: on_progress(model_format, said),
            wanted=lambda: True,
        )
        if not isinstance(outcome, Succeeded):
            raise NotMeasuredError(f"the benchmark of {model_format} was not done: {outcome}")
        found = cost_table.read(measured, model_format)
        target = path_of(settings, model_format)
        part = target.with_suffix(".part")
        with results.open_plain(measured, _LARGEST_BYTES) as file, part.open("wb") as copy:
            shutil.copyfileobj(file, copy)
        part.replace(target)
        return found
