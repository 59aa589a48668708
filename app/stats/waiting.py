"""The history of the queue: how many jobs waited, and for how long."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Float, case, extract, func, select
from sqlalchemy.orm import Session

from app.db.models import Event, Job
from app.stats.queries import SPANS, Bucket, Span, bucket_index


@dataclass(frozen=True)
class Queue:
    """The queue in one bucket of history.

    `depth` is the number of jobs that waited at its end. `mean` and `longest` are the seconds from
    the creation to the start of the jobs that started in it; None where none did.
    """

    start: datetime
    depth: int
    mean: float | None
    longest: float | None


class _Left(NamedTuple):
    """The jobs that left the queue in a bucket, and how long those waited that were started."""

    number: int
    mean: float | None
    longest: float | None


def queue_history(
    session: Session, span: Span, buckets: list[Bucket], waiting: int
) -> list[Queue]:
    """Return the history of the queue in the buckets of `queries.history`, the oldest first.

    `waiting` is the number of jobs in the queue now. A job counts as waiting from its creation to
    its last start, or to its end where it never started.
    """
    seconds, _ = SPANS[span]
    left = _left(session, seconds, buckets[0].start)
    history = []
    depth = waiting
    for bucket in reversed(buckets):
        gone = left.get(int(bucket.start.timestamp()) // seconds, _Left(0, None, None))
        # A clock that was set back can make the sum negative.
        history.append(Queue(bucket.start, max(depth, 0), gone.mean, gone.longest))
        depth += gone.number - bucket.created
    return history[::-1]


def _left(session: Session, seconds: int, since: datetime) -> dict[int, _Left]:
    """Return by the index of the bucket what left the queue."""
    left_at = func.coalesce(Job.started_at, Job.finished_at)
    waited = case((Job.started_at.is_not(None), _seconds_until(session, left_at)))
    index_of = bucket_index(session, left_at, seconds)
    # The events have an index by time.
    recent = select(Event.job_id).where(
        Event.state.in_(("running", "failed", "cancelled")), Event.at >= since
    )
    query = (
        select(index_of, func.count(), func.avg(waited), func.max(waited))
        .where(left_at >= since, Job.id.in_(recent))
        .group_by(index_of)
    )
    return {
        index: _Left(number, _number(mean), _number(longest))
        for index, number, mean, longest in session.execute(query)
    }


def _number(seconds: float | None) -> float | None:
    return None if seconds is None else max(float(seconds), 0.0)


def _seconds_until(
    session: Session, at: ColumnElement[datetime]
) -> ColumnElement[float]:
    """Return the seconds from the creation of a job to a time."""
    if session.get_bind().dialect.name == "sqlite":
        days = func.julianday(at, type_=Float) - func.julianday(
            Job.created_at, type_=Float
        )
        return days * 86400.0
    return extract("epoch", at).cast(Float) - extract("epoch", Job.created_at).cast(
        Float
    )
