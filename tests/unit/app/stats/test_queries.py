"""Statistics cover each owner's jobs, or all jobs, also deleted ones, and are fast."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import insert

from app.db.models import Event, Job, Model
from app.db.session import now, transaction
from app.identity import current_owner
from app.jobs import commands
from app.jobs import queries as job_queries
from app.jobs.transitions import change
from app.stats import queries


@pytest.fixture
def as_ann():
    token = current_owner.set("ann")
    yield
    current_owner.reset(token)


def test_the_jobs(session, filled):
    statistics = queries.job_statistics(session)
    assert statistics.states == {
        "queued": 2,
        "running": 2,
        "succeeded": 1,
        "failed": 2,
        "cancelled": 1,
    }
    assert 89 < (now(session) - statistics.oldest_queued_at).total_seconds() < 100
    assert statistics.failures == {"budget_unreachable": 1, "worker_lost": 1}
    assert statistics.stored_bytes == {
        "models": 1000,
        "analyses": 300,
        "samples": 0,
        "evaluations": 0,
        "artifacts": 70,
    }


def test_an_owner_learns_of_the_own_jobs_alone(filled, as_ann):
    with transaction() as session:
        statistics = queries.job_statistics(session)
        history = queries.history(session, "day")
    assert statistics.states == {
        "queued": 0,
        "running": 0,
        "succeeded": 1,
        "failed": 1,
        "cancelled": 0,
    }
    assert statistics.oldest_queued_at is None
    assert statistics.failures == {"budget_unreachable": 1}
    assert statistics.stored_bytes == {
        "models": 1000,
        "analyses": 300,
        "samples": 0,
        "evaluations": 0,
        "artifacts": 70,
    }
    assert sum(bucket.created for bucket in history) == 2
    assert sum(sum(bucket.ended.values()) for bucket in history) == 2


def test_the_service(session, filled):
    statistics = queries.service_statistics(session)
    assert [
        (worker.name, worker.slots, worker.leases) for worker in statistics.workers
    ] == [("host:7", 2, 1)]
    assert statistics.leases == 2
    assert statistics.overdue_leases == 1
    assert statistics.due_webhooks == 0
    assert statistics.flops_saved == 200
    assert statistics.phases["loading"] == queries.Histogram((1, 2) + (2,) * 10, 0.4)
    assert statistics.phases["factoring"] == queries.Histogram((0,) * 11 + (1,), 7000.0)
    assert statistics.finished == {
        ("succeeded", ""): 1,
        ("failed", "budget_unreachable"): 1,
        ("failed", "worker_lost"): 1,
        ("cancelled", ""): 1,
    }


def test_what_is_forgotten_stays_counted(session, filled):
    before = queries.service_statistics(session)
    for job in job_queries.page(
        session,
        job_queries.Filter(states=["succeeded", "failed", "cancelled"]),
        10,
        None,
    )[0]:
        commands.forget(session, str(job.id))
    assert queries.service_statistics(session) == before
    assert queries.job_statistics(session).states["failed"] == 0


def test_nothing_yet(session):
    assert set(queries.job_statistics(session).states.values()) == {0}
    assert queries.service_statistics(session) == queries.Service(
        (), 0, 0, 0, {}, {}, 0.0, {}, {}
    )


def test_history_has_every_bucket(session, filled):
    for span, (seconds, number) in queries.SPANS.items():
        history = queries.history(session, span)
        assert len(history) == number
        steps = {
            (later.start - earlier.start).total_seconds()
            for earlier, later in pairwise(history)
        }
        assert steps == {seconds}
        assert (
            history[-1].start
            <= now(session)
            < history[-1].start + timedelta(seconds=seconds)
        )
        in_time = [
            age
            for age in (30, 90, 0, 0, 0, 0, 7200, 50 * 3600)
            if age < seconds * (number - 1)
        ]
        assert sum(bucket.created for bucket in history) == len(in_time)
        assert sum(bucket.ended["failed"] for bucket in history) == 1 + (
            span != "minute"
        )


def test_a_change_counts_in_its_bucket(session, filled):
    change(session, now(session), "failed", "engine_error", Job.state == "queued")
    session.commit()
    assert queries.history(session, "minute")[-1].ended["failed"] >= 2
    assert queries.job_statistics(session).failures["engine_error"] == 2


@pytest.mark.long
def test_a_hundred_thousand_jobs_are_counted_in_a_moment(settings):
    moments = [
        datetime.now(UTC) - timedelta(seconds=20 * number) for number in range(100_000)
    ]
    states = ("succeeded", "succeeded", "succeeded", "failed", "cancelled")
    common = {
        "model_sha256": "a" * 64,
        "filename": "n",
        "flops_budget": "0.5",
        "artifact_bytes": 5,
    }
    rows = [
        {
            "id": uuid.uuid4(),
            "state": states[number % 5],
            "created_at": at,
            "finished_at": at,
            **common,
        }
        for number, at in enumerate(moments)
    ]
    with transaction() as session:
        session.add(
            Model(
                sha256="a" * 64,
                format="onnx",
                bytes=1,
                created_at=moments[0],
                used_at=moments[0],
            )
        )
        session.flush()
        session.execute(insert(Job), rows)
        for state in ("queued", "running", None):
            events = [
                {
                    "job_id": row["id"],
                    "at": row["created_at"],
                    "state": state or row["state"],
                }
                for row in rows
            ]
            session.execute(
                insert(Event).values(attempt=1, detail="engine_error"), events
            )
    with transaction() as session:
        began = time.perf_counter()
        assert queries.job_statistics(session).states["succeeded"] == 60_000
        assert (
            queries.service_statistics(session).finished["failed", "engine_error"]
            == 20_000
        )
        assert (
            sum(bucket.created for bucket in queries.history(session, "day")) == 100_000
        )
        # 0.4 s on an idle machine; a query for each job would take minutes
        assert time.perf_counter() - began < 15
