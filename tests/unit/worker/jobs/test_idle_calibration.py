"""Calibration in the background: only while there is no job, and by one worker of a folder."""

import fcntl
import threading

import pytest
from support.engine.costs import cost_table

from convpress.formats import FORMATS
from worker.jobs import cost_tables, idle_calibration
from worker.jobs.idle_calibration import measure_missing, missing


@pytest.fixture
def settings(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(idle_calibration.os, "getloadavg", lambda: (0.1, 5.0, 5.0))
    monkeypatch.setattr(idle_calibration, "_LOOK_SECONDS", 0.0)
    return settings.model_copy(update={"costs_dir": tmp_path / "costs"})


@pytest.fixture
def calibrated(monkeypatch):
    """The formats that were measured, by a benchmark that asks once whether it is wanted."""
    formats = []

    def stand(settings, model_format, *, is_wanted):
        if not is_wanted():
            raise cost_tables.NotMeasuredError("stopped")
        formats.append(model_format)
        table = cost_table(model_format)
        table.write(cost_tables.path_of(settings, model_format))
        return table

    monkeypatch.setattr(cost_tables, "calibrate_format", stand)
    return formats


def test_an_idle_host_measures_what_it_lacks_and_then_ends(
    settings, calibrated, monkeypatch
):
    settings.costs_folder.mkdir()
    cost_table("onnx").write(cost_tables.path_of(settings, "onnx"))
    monkeypatch.setattr(idle_calibration, "get_settings", lambda: settings)
    monkeypatch.setattr(idle_calibration, "_PAUSE_SECONDS", 0.0)
    idle_calibration.run(threading.Event())
    assert calibrated == [name for name in FORMATS if name != "onnx"]


@pytest.mark.parametrize("state", ["queued", "running"])
def test_nothing_is_measured_while_there_is_a_job(
    settings, calibrated, make_job, state
):
    make_job(state=state)
    measure_missing(settings, threading.Event())
    assert calibrated == []


def test_nothing_is_measured_while_other_programs_run(
    settings, calibrated, monkeypatch
):
    monkeypatch.setattr(idle_calibration.os, "getloadavg", lambda: (1.0, 0.0, 0.0))
    measure_missing(settings, threading.Event())
    assert calibrated == []


def test_one_worker_of_a_folder_measures_at_a_time(settings, calibrated):
    settings.costs_folder.mkdir()
    with (settings.costs_folder / idle_calibration._LOCK).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        measure_missing(settings, threading.Event())
        assert calibrated == []
    measure_missing(settings, threading.Event())
    assert calibrated == list(FORMATS)


def test_a_job_that_arrives_and_a_worker_that_stops_put_it_off(
    settings, calibrated, make_job, monkeypatch
):
    stopping = threading.Event()
    stopping.set()
    measure_missing(settings, stopping)
    looks = iter([True, False])
    monkeypatch.setattr(idle_calibration, "_is_idle", lambda: next(looks))
    measure_missing(settings, threading.Event())
    assert calibrated == []
    assert missing(settings) == list(FORMATS)


def test_a_benchmark_that_fails_is_a_failure_of_the_loop(settings, monkeypatch):
    def fail(*_, **__):
        raise cost_tables.NotMeasuredError("it was killed")

    monkeypatch.setattr(cost_tables, "calibrate_format", fail)
    with pytest.raises(cost_tables.NotMeasuredError, match="it was killed"):
        measure_missing(settings, threading.Event())
