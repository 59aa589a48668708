"""A sweep queues the jobs of dead workers, resends lost messages, and touches no other job."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import redis
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app import loops
from app.db.models import Worker
from app.db.session import transaction
from app.stats import queries
from app.stats.pending import PendingAmounts
from worker.queue import sweeper

PAST = datetime.now(UTC) - timedelta(seconds=1)
HOUR = timedelta(hours=1)


def ahead():
    """When a lease ends that has just been renewed."""
    return datetime.now(UTC) + timedelta(seconds=30)


def sweep():
    with transaction() as session:
        return sweeper.sweep(session, sweeper.get_settings())


@pytest.fixture
def messages(monkeypatch):
    """How many messages wait at the broker, as a list of one number."""
    waiting = [0]
    monkeypatch.setattr(sweeper, "backlog", lambda: waiting[0])
    return waiting


@pytest.fixture
def enqueued(monkeypatch, messages):
    job_ids = []
    monkeypatch.setattr(
        sweeper, "enqueue", lambda job_id: job_ids.append(job_id) or True
    )
    return job_ids


def test_a_lease_that_ran_out_is_returned(make_job, load_job):
    job_id = make_job(
        state="running",
        phase="factoring",
        lease_owner="dead",
        lease_expires_at=PAST,
        attempt=2,
    )
    assert sweep() == [job_id]
    job = load_job(job_id)
    assert job.state == "queued"
    assert job.phase is None
    assert job.lease_owner is None
    assert job.lease_expires_at is None
    assert job.attempt == 2


def test_after_the_last_attempt_the_job_fails(make_job, load_job):
    job_id = make_job(
        state="running", lease_owner="dead", lease_expires_at=PAST, attempt=3
    )
    assert sweep() == []
    job = load_job(job_id)
    assert job.state == "failed"
    assert job.error["code"] == "worker_lost"
    assert job.lease_owner is None
    assert "3 attempts" in job.error["detail"]
    assert job.finished_at


def test_a_lease_that_holds_and_ended_jobs_are_left_alone(make_job, load_job):
    held = make_job(
        state="running", lease_owner="alive", lease_expires_at=ahead(), attempt=3
    )
    others = {
        make_job(state=state): state
        for state in ("queued", "succeeded", "failed", "cancelled")
    }
    assert sweep() == []
    assert load_job(held).lease_owner == "alive"
    assert {job_id: load_job(job_id).state for job_id in others} == others


def test_a_job_far_over_its_time_is_taken_from_whoever_holds_it_and_fails_at_last(
    make_job, load_job, events
):
    began = datetime.now(UTC) - timedelta(seconds=3600 + 31)
    held = {"state": "running", "lease_owner": "alive", "lease_expires_at": ahead()}
    overdue = make_job(**held, attempt=1, started_at=began)
    busy = make_job(**held, attempt=3, started_at=began + HOUR)
    last = make_job(**held, attempt=3, started_at=began)
    assert sweep() == [overdue]
    assert load_job(overdue).state == "queued"
    assert load_job(overdue).lease_owner is None
    assert [event.detail for event in events(overdue)] == [
        "the time limit was exceeded"
    ]
    assert load_job(last).state == "failed"
    assert load_job(last).error["code"] == "job_timeout"
    assert load_job(busy).state == "running"


def test_a_lease_given_before_the_clock_went_back_is_none(make_job, load_job):
    job_id = make_job(
        state="running", lease_owner="dead", lease_expires_at=ahead() + HOUR, attempt=1
    )
    assert sweep() == [job_id]


def test_sweepers_beside_each_other_return_each_job_once(make_job, events):
    jobs = [
        make_job(
            state="running",
            lease_owner="dead",
            lease_expires_at=PAST,
            attempt=1,
            started_at=PAST,
        )
        for _ in range(20)
    ]
    with ThreadPoolExecutor(4) as pool:
        returned = [
            job for some in pool.map(lambda _: sweep(), range(4)) for job in some
        ]
    assert sorted(returned) == sorted(jobs)
    assert all(len(events(job)) == 1 for job in jobs)


def test_only_jobs_that_waited_longer_than_a_message_travels_are_unheard(make_job):
    oldest = make_job(age_seconds=20)
    old = make_job(age_seconds=10)
    make_job()
    make_job(age_seconds=20, state="running")
    with transaction() as session:
        assert sweeper.unheard(session, 0) == [oldest, old]


def test_while_messages_wait_only_jobs_that_were_overtaken_are_unheard(make_job):
    overtaken = make_job(age_seconds=30)
    make_job(age_seconds=10, state="succeeded")
    with transaction() as session:
        assert sweeper.unheard(session, 1) == []
    make_job(
        age_seconds=20, state="running", lease_owner="alive", lease_expires_at=ahead()
    )
    make_job(age_seconds=19)
    with transaction() as session:
        assert sweeper.unheard(session, 1) == [overtaken]


@pytest.mark.parametrize("messages", [0, 1])
def test_jobs_of_a_clock_that_has_gone_back_are_unheard(make_job, messages):
    ahead_of_time = make_job(age_seconds=-7200)
    make_job(age_seconds=-1)
    with transaction() as session:
        assert sweeper.unheard(session, messages) == [ahead_of_time]


def test_while_each_queued_job_has_a_message_none_is_sent(make_job):
    overtaken = [make_job(age_seconds=age) for age in (40, 35, 30)]
    make_job(
        age_seconds=20, state="running", lease_owner="alive", lease_expires_at=ahead()
    )
    with transaction() as session:
        for messages, unheard in {
            3: [],
            5: [],
            2: overtaken[:1],
            1: overtaken[:2],
        }.items():
            assert sweeper.unheard(session, messages) == unheard


@pytest.mark.parametrize("waiting", [0, 1])
def test_it_enqueues_for_the_unheard_when_no_message_waits(
    make_job, settings, enqueued, messages, waiting
):
    job_id = make_job(age_seconds=60)
    messages[0] = waiting
    sweeper.sweep_and_ring(settings)
    assert enqueued == ([] if waiting else [job_id])


def test_it_enqueues_the_job_it_returned_whatever_waits(
    make_job, settings, enqueued, messages
):
    make_job(age_seconds=60)
    job_id = make_job(
        age_seconds=60, state="running", lease_owner="dead", lease_expires_at=PAST
    )
    messages[0] = 7
    sweeper.sweep_and_ring(settings)
    assert enqueued == [job_id]


def test_it_enqueues_each_job_once(make_job, settings, enqueued):
    make_job(age_seconds=60)
    make_job(age_seconds=60, state="running", lease_owner="dead", lease_expires_at=PAST)
    sweeper.sweep_and_ring(settings)
    assert len(enqueued) == len(set(enqueued)) == 2


def test_a_broker_that_is_down_ends_the_round(
    make_job, settings, messages, monkeypatch
):
    tried = []
    monkeypatch.setattr(sweeper, "enqueue", lambda job_id: tried.append(job_id))
    for _ in range(3):
        make_job(age_seconds=60)
    sweeper.sweep_and_ring(settings)
    assert len(tried) == 1


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("SELECT", {}, ConnectionError("away")),
        redis.exceptions.OutOfMemoryError("maxmemory"),
        RuntimeError("of any library"),
    ],
)
@pytest.mark.parametrize("broken", ["sweep_and_ring", "expire", "_remove_orphans"])
def test_the_loop_outlives_any_error_of_a_step_and_takes_the_others(
    settings, monkeypatch, broken, error
):
    monkeypatch.setattr(
        loops, "_failures", PendingAmounts()
    )  # without those of other tests
    steps = []
    stopping = threading.Event()

    def step(name):
        steps.append(name)
        if len(steps) > 8:
            stopping.set()
        if name == broken:
            raise error

    for name in ("sweep_and_ring", "expire", "_remove_orphans"):
        monkeypatch.setattr(sweeper, name, lambda _, name=name: step(name))
    monkeypatch.setenv("CONVPRESS_SWEEP_SECONDS", "0.01")
    sweeper.get_settings.cache_clear()
    sweeper.run(stopping)
    assert steps.count("sweep_and_ring") == steps.count("expire") >= 3
    with transaction() as session:
        failures = queries.service_statistics(session).loop_failures
    assert sum(failures.values()) >= 3
    assert {kind for _, kind in failures} == {type(error).__name__}


def test_a_worker_that_cannot_sweep_is_not_shown_as_alive(settings, monkeypatch):
    stopping = threading.Event()

    def fail(_):
        stopping.set()
        raise RuntimeError

    monkeypatch.setattr(sweeper, "sweep_and_ring", fail)
    monkeypatch.setattr(sweeper.registry, "leave", lambda: None)
    sweeper.run(stopping)
    with transaction() as session:
        assert session.scalars(select(Worker)).all() == []
