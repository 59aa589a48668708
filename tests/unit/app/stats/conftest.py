"""A database with jobs in all states, and workers."""

from datetime import timedelta

import pytest
from support.service.job_history import add

from app.db.models import Model, Worker
from app.db.session import now
from app.stats import counters


@pytest.fixture
def filled(session):
    add(session, "queued", age=30)
    add(session, "queued", age=90)
    held = add(
        session,
        "running",
        lease_owner="host:7:x",
        lease_expires_at=now(session) + timedelta(seconds=30),
    )
    add(
        session,
        "running",
        lease_owner="lost:8:x",
        lease_expires_at=now(session) - timedelta(seconds=30),
    )
    add(
        session,
        "succeeded",
        owner="ann",
        artifact_bytes=70,
        macs_before=100,
        macs_after=40,
    )
    add(session, "failed", owner="ann", code="budget_unreachable")
    add(session, "failed", code="worker_lost", age=7200)
    add(session, "cancelled", age=50 * 3600)
    at = held.created_at
    session.get_one(Model, "a" * 64).analysis_bytes = 300
    session.add(Worker(name="host:7", slots=2, started_at=at, seen_at=at))
    session.add(
        Worker(name="gone:9", slots=2, started_at=at, seen_at=at - timedelta(hours=1))
    )
    counters.add(
        session, counters.of_success(60, {"loading": 0.3, "factoring": 7000.0})
    )
    counters.add(session, counters.of_success(40, {"loading": 0.1}))
    session.commit()
