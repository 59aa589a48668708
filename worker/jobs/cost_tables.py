"""The cost tables of jobs: shipped ones, and those that a benchmark measures in a sandbox.

The child of the benchmark reads no model, so that no model can influence the costs of layers.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.settings import Settings
from convpress.formats import FORMATS, Format
from convpress.refusal import Code, Refusal
from convpress.targets import FIELD as TARGET
from worker.jobs.host_target import host_target
from worker.sandbox import doctor, outputs
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Progress, Succeeded
from worker.sandbox.run import ENGINE
from worker.sandbox.scratch import scratch

if TYPE_CHECKING:  # a table's arithmetic needs numpy, which no worker loads
    from worker.engine.costs.table import CostTable

_SHIPPED = Path(__file__).parents[1] / "engine" / "costs" / "shipped"
_SECONDS = 1800.0
_LARGEST_BYTES = 4 * 1024**2
# This limit ends a child that writes on and on; a table is checked against `_LARGEST_BYTES`.
_FILE_BYTES = 64 * _LARGEST_BYTES


@dataclass(frozen=True)
class Table:
    """The file of a cost table, and where it is from, as reports say it.

    `origin` is empty for a measured table, whose file names the host. A table that nobody has named
    or measured decides about no single layer: its processor is not the host's own.
    """

    path: Path
    origin: str = ""
    decides: bool = True


class NotMeasuredError(Exception):
    """The benchmark did not finish; the message says how it ended."""


def path_of(settings: Settings, model_format: Format) -> Path:
    """Return the path of the table of a format's runtime; the file need not exist."""
    return settings.costs_folder / f"{FORMATS[model_format].timed_as}.json"


def table_of(
    settings: Settings, model_format: Format, target: str | None = None
) -> Table | None:
    """Return the table for a job: the target's, or this host's.

    A table that was measured on this host goes before the one that the package brings for hosts of
    its kind. None where there is neither.
    """
    measured = path_of(settings, model_format)
    if target is None and measured.is_file():
        return Table(measured)
    name = target or host_target()
    if name is None:
        return None
    path = _SHIPPED / f"{FORMATS[model_format].runtime}-{name}.json"
    if not path.is_file():
        return None
    return Table(path, f"shipped for {path.stem}", decides=target is not None)


def request_members(
    settings: Settings, model_format: Format, target: str | None, own: Path | None
) -> dict[str, str | bool]:
    """Return the members of a request for the table `own`, or else for that of a target or host.

    Raises:
        Refusal: `target_invalid` where both are named.
    """
    table = table_of(settings, model_format, target)
    if own is not None:
        if target is not None:
            raise Refusal(
                Code.TARGET_INVALID,
                "a cost table is one of a device: leave out the target, or the table",
                field=TARGET,
                expected="a target or a cost table",
                got="both",
            )
        table = Table(own)
    if table is None:
        return {}
    return {
        "costs": str(table.path.absolute()),
        "costs_origin": table.origin,
        "costs_decide": table.decides,
    }


def digest(table: Table | None) -> str | None:
    """Return the SHA-256 of a table's file; None without one."""
    if table is None:
        return None
    return hashlib.sha256(table.path.read_bytes()).hexdigest()


def calibrate(
    settings: Settings, on_progress: Callable[[Format, Progress], None]
) -> "list[CostTable]":
    """Measure the tables of all runtimes; each replaces its earlier one when it is complete.

    Raises:
        NotMeasuredError: a benchmark failed.
        SandboxIncomplete: this host cannot build a sandbox.
    """
    measured = dict.fromkeys(spec.timed_as for spec in FORMATS.values())
    return [
        calibrate_format(settings, each, on_progress=partial(on_progress, each))
        for each in measured
    ]


def calibrate_format(
    settings: Settings,
    model_format: Format,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> "CostTable":
    """Measure the table of a format; it replaces its earlier one when it is complete.

    `is_wanted` is called several times a second; the benchmark ends as soon as it returns False.

    Raises:
        NotMeasuredError: the benchmark failed, or was not wanted any more.
        SandboxIncomplete: this host cannot build a sandbox.
    """
    doctor.require(settings)
    settings.costs_folder.mkdir(parents=True, exist_ok=True)
    from worker.engine.costs import table_file

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
            on_progress=on_progress,
            is_wanted=is_wanted,
        )
        if not isinstance(outcome, Succeeded):
            raise NotMeasuredError(
                f"the benchmark of {model_format} was not done: {outcome}"
            )
        table = table_file.read(measured, model_format)
        _put(measured, path_of(settings, model_format))
        return table


def _put(measured: Path, target: Path) -> None:
    """Copy a table that a child wrote, and rename the copy, so that no reader sees half a table."""
    part = target.with_suffix(".part")
    with outputs.open_plain(measured, _LARGEST_BYTES) as file, part.open("wb") as copy:
        shutil.copyfileobj(file, copy)
    part.replace(target)
