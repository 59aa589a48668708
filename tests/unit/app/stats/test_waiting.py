"""The history of the queue: its depth at the end of each bucket, and how long jobs waited."""

from datetime import timedelta

import pytest
from support.service.job_history import add

from app.db.session import now
from app.jobs.transitions import Changed, record
from app.stats import queries
from app.stats.waiting import queue_history


def history(session, span="day"):
    buckets = queries.history(session, span)
    waiting = queries.job_statistics(session).states["queued"]
    return queue_history(session, span, buckets, waiting)


def test_the_depth_and_the_waits_follow_from_the_jobs(session):
    day = 86400
    for age, started, state in (
        (5 * day, 3 * day, "succeeded"),
        (4 * day, 3 * day, "succeeded"),
        (4 * day, None, "queued"),
        (3 * day, None, "queued"),
    ):
        job = add(session, state, age=age)
        if started is not None:
            at = now(session) - timedelta(seconds=started)
            job.started_at = job.finished_at = at
            session.flush()
            record(session, at, "running", "claimed", [Changed(job.id, 1, None, None)])
    last = history(session)[-7:]
    assert [queue.depth for queue in last] == [0, 1, 3, 2, 2, 2, 2]
    assert [queue.mean and round(queue.mean / day, 3) for queue in last] == [
        None, None, None, 1.5, None, None, None,
    ]  # fmt: skip
    assert last[3].longest == pytest.approx(2 * day, abs=5)


def test_a_job_that_was_cancelled_in_the_queue_has_left_it(session):
    job = add(session, "cancelled", age=86400)
    job.created_at = now(session) - timedelta(days=2)
    session.flush()
    last = history(session)[-3:]
    assert [(queue.depth, queue.mean) for queue in last] == [
        (1, None),
        (0, None),
        (0, None),
    ]


def test_nothing_yet(session):
    assert {(queue.depth, queue.mean) for queue in history(session)} == {(0, None)}
