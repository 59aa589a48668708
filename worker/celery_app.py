"""The Celery application of the worker: one process, with a thread for each concurrent job.

Each job has a child process of its own, so that a pool of processes would only cost memory. Nothing
here imports a model library: a process that has run ONNX Runtime cannot fork safely.
"""

import logging
import threading
import warnings
from typing import Any

from celery import Celery, signals
from celery.platforms import SecurityWarning

from app import data_folder
from app.logging import configure_logging
from app.queue.celery_client import celery_options
from app.settings import get_settings
from app.tracing import configure_tracing
from worker.jobs import idle_calibration
from worker.jobs.run import start_spare
from worker.queue import sweeper
from worker.sandbox import remains
from worker.sandbox.spare import spares

celery = Celery("convpress", include=["worker.tasks"])
celery.add_defaults(
    lambda: {**celery_options(get_settings()), "worker_enable_remote_control": False}
)

stopping = threading.Event()
"""Set when this worker shuts down: its jobs go back into the queue."""


def run_worker() -> int:
    """Work until SIGTERM or SIGINT, and return the exit status."""
    settings = get_settings()
    configure_tracing(settings, "worker")
    data_folder.prepare(settings)
    remains.adopt_orphans()
    # Celery warns root of pickled messages; this worker accepts JSON only.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    worker = celery.Worker(
        pool="threads",
        concurrency=settings.worker_concurrency,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    spares.end()
    return int(worker.exitcode or 0)


@signals.setup_logging.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def _configure_logging(**_: Any) -> None:  # noqa: ANN401 - Celery's own signature
    configure_logging(get_settings().log_level)
    # The log lines of worker.tasks have the same events, and the outcome as well.
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.worker_ready.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def _start_sweeper(**_: Any) -> None:  # noqa: ANN401 - Celery's own signature
    threading.Thread(
        target=sweeper.run, args=(stopping,), name="sweeper", daemon=True
    ).start()
    if get_settings().calibrate_when_idle:
        calibration = threading.Thread(
            target=idle_calibration.run,
            args=(stopping,),
            name="calibration",
            daemon=True,
        )
        calibration.start()


@signals.worker_ready.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def _keep_spare(**_: Any) -> None:  # noqa: ANN401 - Celery's own signature
    settings = get_settings()
    if settings.spare_child:
        spares.keep(lambda: start_spare(settings))


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def _stop(**_: Any) -> None:  # noqa: ANN401 - Celery's own signature
    stopping.set()
