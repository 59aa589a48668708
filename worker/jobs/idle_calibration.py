"""The cost tables of this host, measured while the service has no job, if the operator allows it.

One worker of a folder of tables measures at a time. A job that arrives stops it: the measurement
starts again in the next pause.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import exists, select

from app import loops
from app.db.models import Job
from app.db.session import transaction
from app.settings import Settings, get_settings
from convpress.formats import FORMATS, Format
from worker.jobs import cost_tables

_PAUSE_SECONDS = 60.0
_LONGEST_PAUSE = 3600.0
_LOOK_SECONDS = 2.0
"""The time between two looks for jobs while a table is measured."""
_MOST_LOAD = 0.5
"""Other programs of the host, on the mean over a minute, with which it still counts as idle."""
_LOCK = ".calibrating"

log = structlog.get_logger(__name__)


def run(stopping: threading.Event) -> None:
    """Measure the tables that this host lacks, until it has all or `stopping` is set."""
    settings = get_settings()
    backoff = loops.Backoff("calibration", _PAUSE_SECONDS, _LONGEST_PAUSE)
    pause = _PAUSE_SECONDS
    while missing(settings) and not stopping.wait(pause):
        error: Exception | None = None
        try:
            measure_missing(settings, stopping)
        # any exception would end the loop for good
        except Exception as caught:
            error = caught
        pause = backoff.after(error)


def missing(settings: Settings) -> list[Format]:
    """Return the formats whose runtime was not measured on this host."""
    return [
        name for name in FORMATS if not cost_tables.path_of(settings, name).is_file()
    ]


def measure_missing(settings: Settings, stopping: threading.Event) -> None:
    """Measure the tables that this host lacks, as long as it is idle.

    Raises:
        NotMeasuredError: a benchmark failed.
        SandboxIncomplete: this host cannot build a sandbox.
    """
    if not _is_idle() or os.getloadavg()[0] > _MOST_LOAD:
        return
    with _alone(settings) as is_alone:
        if not is_alone:
            return
        for model_format in missing(settings):
            is_wanted = _watch(stopping)
            try:
                table = cost_tables.calibrate_format(
                    settings, model_format, is_wanted=is_wanted
                )
            except cost_tables.NotMeasuredError:
                if is_wanted():
                    raise
                log.info("calibration put off: a job has arrived", format=model_format)
                return
            log.info(
                "calibrated",
                format=model_format,
                runtime=table.runtime,
                host=table.host,
            )


def _watch(stopping: threading.Event) -> Callable[[], bool]:
    """Return a function that says whether the host is still idle; once it is not, that stays."""
    looked_at = time.monotonic()
    idle = True

    def is_wanted() -> bool:
        nonlocal looked_at, idle
        if idle and time.monotonic() - looked_at >= _LOOK_SECONDS:
            idle = _is_idle()
            looked_at = time.monotonic()
        return idle and not stopping.is_set()

    return is_wanted


def _is_idle() -> bool:
    """Whether no job waits or runs, on any worker: they may share this host."""
    with transaction() as session:
        unfinished = select(exists().where(Job.state.in_(("queued", "running"))))
        return not session.scalar(unfinished)


@contextmanager
def _alone(settings: Settings) -> Iterator[bool]:
    """Hold the lock of the folder of tables, and say whether it was free."""
    settings.costs_folder.mkdir(parents=True, exist_ok=True)
    with (settings.costs_folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        # closing the file releases the lock
        yield True
