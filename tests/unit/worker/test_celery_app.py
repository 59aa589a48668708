"""A worker starts what its settings ask for, and its signals reach it."""

import logging
import threading

import pytest

from app import data_folder
from worker import celery_app
from worker.jobs import idle_calibration
from worker.queue import sweeper
from worker.sandbox import remains


class Worker:
    """A worker that ends at once."""

    def __init__(self, **options):
        self.options = options
        self.exitcode = None
        self.is_started = False

    def start(self):
        self.is_started = True


@pytest.fixture
def spares(monkeypatch):
    """Collect what happens to the spare child."""
    calls = []
    monkeypatch.setattr(celery_app.spares, "keep", lambda start: calls.append("keep"))
    monkeypatch.setattr(celery_app.spares, "end", lambda: calls.append("end"))
    return calls


def test_a_worker_has_a_thread_for_each_job_and_ends_its_spare(
    settings, monkeypatch, spares
):
    workers = []

    def start(**options):
        workers.append(Worker(**options))
        return workers[0]

    monkeypatch.setattr(celery_app.celery, "Worker", start)
    monkeypatch.setattr(remains, "adopt_orphans", lambda: None)
    assert celery_app.run_worker() == 0
    [worker] = workers
    assert worker.is_started
    assert worker.options["pool"] == "threads"
    assert worker.options["concurrency"] == settings.worker_concurrency
    assert spares == ["end"]
    data_folder.check(settings)


@pytest.mark.parametrize("asked", [True, False])
def test_the_host_is_measured_while_idle_where_that_is_asked_for(monkeypatch, asked):
    started = []
    ended = threading.Event()

    def note(name, last):
        def run(_stopping):
            started.append(name)
            if last:
                ended.set()

        return run

    monkeypatch.setattr(sweeper, "run", note("sweeper", last=not asked))
    monkeypatch.setattr(idle_calibration, "run", note("calibration", last=asked))
    monkeypatch.setattr(
        celery_app,
        "get_settings",
        lambda: type("Settings", (), {"calibrate_when_idle": asked}),
    )
    celery_app._start_sweeper()
    assert ended.wait(60)
    assert set(started) <= {"sweeper", "calibration"}
    assert ("calibration" in started) is asked


@pytest.mark.parametrize(("spare_child", "calls"), [(True, ["keep"]), (False, [])])
def test_a_spare_is_kept_where_that_is_asked_for(
    monkeypatch, spares, spare_child, calls
):
    monkeypatch.setattr(
        celery_app,
        "get_settings",
        lambda: type("Settings", (), {"spare_child": spare_child}),
    )
    celery_app._keep_spare()
    assert spares == calls


def test_the_log_has_no_second_line_for_a_job(settings, monkeypatch):
    levels = []
    monkeypatch.setattr(celery_app, "configure_logging", levels.append)
    loggers = [
        logging.getLogger(name)
        for name in ("celery.worker.strategy", "celery.app.trace")
    ]
    for logger in loggers:
        monkeypatch.setattr(logger, "level", logger.level)  # and put back afterwards
    celery_app._configure_logging()
    assert levels == [settings.log_level]
    assert [logger.level for logger in loggers] == [logging.WARNING] * 2
