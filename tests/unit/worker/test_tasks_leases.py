"""A task renews its lease, gives it back at shutdown, and commits nothing without it."""

import threading
import time

import pytest

from app.db.session import transaction
from app.storage import (
    LocalStorage,
)
from worker import tasks
from worker.celery_app import stopping
from worker.queue import heartbeat as heartbeats
from worker.queue import lease as leases
from worker.queue.sweeper import sweep

pytestmark = pytest.mark.usefixtures("engine_without_work")


def test_a_worker_that_shuts_down_gives_its_job_back_uncounted(
    make_job, work, enqueued, load_job
):
    job_id = make_job(input_shape="sleep 600")

    def stop_when_it_runs():
        while load_job(job_id).phase != "factoring":
            time.sleep(0.02)
        stopping.set()

    thread = threading.Thread(target=stop_when_it_runs)
    thread.start()
    try:
        job = work(job_id)
    finally:
        thread.join(120)
        stopping.clear()
    assert job.state == "queued"
    assert job.attempt == 0
    assert job.started_at is None
    assert enqueued == []  # it would receive the message itself


def test_a_worker_that_shuts_down_takes_no_new_job(make_job, work):
    stopping.set()
    try:
        job = work(make_job())
    finally:
        stopping.clear()
    assert job.state == "queued"
    assert job.attempt == 0


def test_a_lost_lease_stops_the_child_and_commits_nothing(
    make_job, work, monkeypatch, enqueued, load_job
):
    monkeypatch.setenv("CONVPRESS_LEASE_SECONDS", "0.5")
    tasks.get_settings.cache_clear()
    job_id = make_job(input_shape="sleep 600")
    renew = leases.renew

    def renew_after_another_took_it(session, lease, *progress):
        leases.give_back(session, lease, "a test", blameless=False)
        leases.claim(session, job_id, "heir", 60)
        return renew(session, lease, *progress)

    monkeypatch.setattr(heartbeats.leases, "renew", renew_after_another_took_it)
    job = work(job_id)
    assert job.state == "running"
    assert job.lease_owner == "heir"
    assert job.attempt == 2
    assert enqueued == []


def test_a_lease_lost_while_the_result_is_stored_commits_nothing(
    make_job, work, monkeypatch
):
    store = tasks.run.results.store

    def store_slowly(*args, **kwargs):
        with transaction() as session:
            job = session.get_one(tasks.Job, job_id)
            leases.give_back(
                session,
                leases.Lease(job_id, job.lease_owner, 1),
                "a test",
                blameless=False,
            )
            leases.claim(session, job_id, "heir", 60)
        return store(*args, **kwargs)

    monkeypatch.setattr(tasks.run.results, "store", store_slowly)
    job_id = make_job()
    job = work(job_id)
    assert job.state == "running"
    assert job.lease_owner == "heir"
    assert job.artifact_sha256 is None


@pytest.mark.parametrize("slow", ["fetch", "prepare"])
def test_a_store_that_is_slower_than_the_lease_loses_no_job(
    make_job, load_job, work, monkeypatch, slow
):
    monkeypatch.setattr(heartbeats, "_RENEW_SECONDS", 0.1)
    quick = getattr(LocalStorage, slow)

    def slowly(storage, *arguments):
        lease_ends = load_job(job_id).lease_expires_at
        deadline = time.monotonic() + 120
        while load_job(job_id).lease_expires_at == lease_ends:
            assert time.monotonic() < deadline, "the lease is not renewed meanwhile"
            time.sleep(0.02)
        with transaction() as session:  # as the sweeper does
            swept = sweep(session, tasks.get_settings())
        assert not swept
        return quick(storage, *arguments)

    job_id = make_job()
    monkeypatch.setattr(LocalStorage, slow, slowly)
    job = work(job_id)
    assert job.state == "succeeded"
    assert job.attempt == 1
