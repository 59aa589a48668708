"""A task brings its job to exactly one end, whatever its child does, and leaves no scratch."""

import errno
import hashlib
import json
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from support.service import fake_engine

from app.db.models import Job
from app.db.session import transaction
from app.jobs import commands, logs
from app.storage import (
    LocalStorage,
    StorageUnavailable,
    artifact_key,
    get_storage,
    model_key,
    samples_key,
)
from worker import tasks
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Failed

pytestmark = pytest.mark.usefixtures("engine_without_work")


def test_a_job_succeeds_with_its_artifact_and_report_stored(make_job, work, enqueued):
    job = work(make_job())
    assert job.state == "succeeded"
    assert job.attempt == 1
    assert job.macs_before == 100
    assert job.macs_after == 40
    assert (
        get_storage().path(artifact_key(job.id, job.artifact_sha256)).stat().st_size
        == job.artifact_bytes
    )
    assert (
        json.loads(
            get_storage().path(artifact_key(job.id, job.report_sha256)).read_text()
        )
        == fake_engine.REPORT
    )
    assert get_storage().path(f"models/{job.model_sha256}").exists()
    assert enqueued == []


def test_a_refusal_fails_the_job_at_once(make_job, work, enqueued):
    job = work(make_job(input_shape="refuse"))
    assert job.state == "failed"
    assert job.attempt == 1
    assert job.error == {"code": "budget_unreachable", "detail": "no", "got": "0.1"}
    assert enqueued == []


@pytest.mark.parametrize("behaviour", ["die", "lie"])
def test_a_lost_child_is_tried_again_until_the_last_attempt(
    make_job, work, enqueued, behaviour
):
    job_id = make_job(input_shape=behaviour)
    for attempt in (1, 2):
        job = work(job_id)
        assert job.state == "queued"
        assert job.attempt == attempt
        assert job.lease_owner is None
        assert enqueued == [job_id] * attempt
    job = work(job_id)
    assert job.state == "failed"
    assert job.attempt == 3
    assert job.error["code"] == "worker_lost"
    assert enqueued == [job_id] * 2


def test_a_job_whose_child_died_once_succeeds(make_job, work, tmp_path):
    job_id = make_job(input_shape=f"once {tmp_path}/mark die")
    work(job_id)
    job = work(job_id)
    assert job.state == "succeeded"
    assert job.attempt == 2


def test_a_model_that_the_store_has_lost_fails_the_job_by_a_code_of_its_own(
    make_job, work, load_job
):
    job_id = make_job()
    get_storage().delete(model_key(load_job(job_id).model_sha256))
    job = work(job_id)
    assert job.state == "failed"
    assert job.attempt == 1
    assert job.error["code"] == "model_gone"


def test_samples_reach_the_child_and_fail_the_job_where_the_store_has_lost_them(
    make_job, work, store_file
):
    sha256 = hashlib.sha256(b"real").hexdigest()
    columns = {
        "calibration": "samples",
        "samples_sha256": sha256,
        "input_range": "0,1",
        "input_std": "2",
    }
    store_file(samples_key(sha256), b"real")
    job = work(make_job(input_shape="show", **columns))
    assert job.state == "succeeded"
    shown = json.loads(
        get_storage().path(artifact_key(job.id, job.report_sha256)).read_text()
    )["budget"]
    options = {
        "calibration": "samples",
        "input_range": "0,1",
        "input_mean": None,
        "input_std": "2",
    }
    assert {name: shown[name] for name in options} == options
    assert shown["samples"] == "real"
    get_storage().delete(samples_key(sha256))
    job = work(make_job(**columns))
    assert job.state == "failed"
    assert job.attempt == 1
    assert job.error["code"] == "samples_gone"


@pytest.mark.parametrize("full", ["fetch", "keep"])
def test_a_full_disk_is_waited_for_and_fails_the_last_attempt(
    make_job, work, monkeypatch, enqueued, events, full
):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    job_id = make_job()
    monkeypatch.setattr(LocalStorage, full, fail)
    states = [
        (job.state, job.error and job.error["code"])
        for job in (work(job_id) for _ in range(3))
    ]
    assert states == [("queued", None), ("queued", None), ("failed", "storage_full")]
    assert [event.detail for event in events(job_id) if event.state == "queued"] == [
        "the disk is full"
    ] * 2
    assert list(get_storage().staging.iterdir()) == []
    assert enqueued == []  # it would be full at once again


@pytest.mark.parametrize("behaviour", ["die", "fill"])
def test_a_child_without_room_is_no_fault_of_its_job(
    make_job, work, monkeypatch, events, behaviour
):
    job_id = make_job(input_shape=behaviour)
    monkeypatch.setattr(tasks.run, "free_bytes", lambda _: 1000)
    assert [work(job_id).state for _ in range(3)] == ["queued", "queued", "failed"]
    assert work(job_id).error["code"] == "storage_full"
    assert [event.detail for event in events(job_id) if event.state == "queued"] == [
        "the disk is full"
    ] * 2


def test_an_unavailable_store_is_waited_for_and_counts_no_attempt(
    make_job, work, monkeypatch, enqueued, events
):
    def fail(*_):
        raise StorageUnavailable("the bucket does not answer")

    job_id = make_job()
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "fetch", fail)
        for _ in range(4):
            job = work(job_id)
            assert job.state == "queued"
            assert job.attempt == 0
    assert enqueued == []
    assert work(job_id).state == "succeeded"
    assert events(job_id)[1].detail == "the artifact store does not answer"


def test_a_job_cancelled_while_it_runs_is_stopped(
    make_job, settings, load_job, enqueued
):
    job_id = make_job(input_shape="sleep 600")
    thread = threading.Thread(target=tasks.compress, args=(str(job_id),))
    thread.start()
    while load_job(job_id).phase != "factoring":
        thread.join(0.05)
    with transaction() as session:
        commands.cancel(session, str(job_id))
    thread.join(120)
    assert not thread.is_alive()
    job = load_job(job_id)
    assert job.state == "cancelled"
    assert job.lease_owner is None
    assert list((settings.data_dir / "scratch").iterdir()) == []
    assert enqueued == []


def test_an_unavailable_database_is_tried_again_when_the_job_ends(
    make_job, work, monkeypatch
):
    commit = tasks._commit
    tried = []

    def commit_later(*arguments, **options):
        tried.append(1)
        if len(tried) < 3:
            raise OperationalError("UPDATE", {}, ConnectionError("away"))
        return commit(*arguments, **options)

    monkeypatch.setattr(tasks, "_commit", commit_later)
    monkeypatch.setattr(tasks, "_RETRY_SECONDS", 0.01)
    job = work(make_job())
    assert job.state == "succeeded"
    assert job.attempt == 1
    assert len(tried) == 3


def test_a_job_over_its_time_fails(make_job, work, monkeypatch, enqueued):
    monkeypatch.setenv("CONVPRESS_JOB_TIMEOUT_SECONDS", "1")
    tasks.get_settings.cache_clear()
    job = work(make_job(input_shape="sleep 600"))
    assert job.state == "failed"
    assert job.error["code"] == "job_timeout"
    assert "1 seconds" in job.error["detail"]
    assert enqueued == []


@pytest.mark.parametrize("state", ["running", "succeeded", "failed", "cancelled"])
def test_a_ring_for_a_job_that_is_not_queued_does_nothing(
    make_job, work, state, monkeypatch
):
    monkeypatch.setattr(sandbox, "ENGINE", ("/nonexistent",))
    job = work(make_job(state=state))
    assert job.state == state
    assert job.attempt == 0


def test_a_ring_for_an_unknown_job_does_nothing(settings):
    tasks.compress(str(uuid.uuid4()))


def test_progress_can_be_seen_while_the_job_runs(
    make_job, load_job, settings, enqueued, tmp_path
):
    seen = tmp_path / "seen"
    job_id = make_job(input_shape=f"await {seen}")
    thread = threading.Thread(target=tasks.compress, args=(str(job_id),))
    thread.start()
    while thread.is_alive():
        job = load_job(job_id)
        if (job.state, job.phase, job.progress) == ("running", "factoring", 0.3):
            seen.touch()
        thread.join(0.05)
    assert seen.exists()
    assert load_job(job_id).state == "succeeded"


def test_the_worker_imports_neither_model_libraries_nor_fastapi_and_touches_no_file(
    tmp_path,
):
    code = (
        "import sys, worker.tasks, worker.celery_app\n"
        "assert 'fastapi' not in sys.modules\n"
        "import worker.cli.main, worker.cli.supervisor, worker.offline\n"
        "heavy = {'torch', 'onnx', 'onnx_ir', 'onnxruntime', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert list(Path(tmp_path).iterdir()) == []


def test_what_a_child_writes_is_logged_line_by_line_with_the_ids_of_its_job(
    make_job, monkeypatch
):
    child = Failed(
        {"code": "engine_error", "detail": "so it is"},
        log="Traceback:\n  it \x1b[31mfell\n",
    )
    monkeypatch.setattr(tasks.run, "run_job", lambda *_: child)
    job_id = make_job(request_id="deploy-7")
    with capture_logs([merge_contextvars]) as lines:
        tasks.compress(str(job_id))
    assert [(line["event"], line.get("line")) for line in lines] == [
        ("claimed", None),
        ("the child wrote", "Traceback:"),
        ("the child wrote", "  it fell"),
        ("ended", None),
    ]
    assert {
        (line["job_id"], line["request_id"], line["attempt"]) for line in lines
    } == {(str(job_id), "deploy-7", 1)}
    assert lines[-1]["error"]["code"] == "engine_error"


def test_what_a_child_wrote_is_kept_in_the_log_of_its_job(make_job, monkeypatch):
    def run_job(job, settings, on_progress, is_wanted, on_log):
        on_log("Traceback:\n  it \x1b[31mfell\n")
        return Failed({"code": "engine_error", "detail": "so it is"})

    monkeypatch.setattr(tasks.run, "run_job", run_job)
    job_id = make_job()
    tasks.compress(str(job_id))
    with transaction() as session:
        lines = logs.read(session, session.get_one(Job, job_id)).splitlines()
    assert lines[-3:-1] == ["  | Traceback:", "  |   it fell"]
    assert lines[-1].endswith("failed: engine_error")
