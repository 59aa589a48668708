"""Statistics of jobs and of the service, read from SQL, so all processes give the same answers."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Literal, NamedTuple, TypeVarTuple, cast, get_args

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    case,
    extract,
    func,
    literal_column,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db.models import Delivery, Evaluation, Event, Job, Model, Samples, Worker
from app.db.session import now
from app.identity import current_owner
from app.stats import counters
from app.uploads.retention import EVALUATIONS, MODELS, SAMPLES, UploadKind
from convpress.states import TERMINAL, State

SILENT_SECONDS = 60.0
"""A worker without a sign of life for this time counts as dead."""

Columns = TypeVarTuple("Columns")
Span = Literal["minute", "hour", "day"]
SPANS: Mapping[Span, tuple[int, int]] = {
    "minute": (60, 60),
    "hour": (3600, 48),
    "day": (86400, 30),
}
"""The seconds of a bucket of history, and the number of buckets."""


@dataclass(frozen=True)
class Jobs:
    """Statistics of the jobs that the caller may see.

    `states` counts jobs by state, `failures` failed jobs by code. `oldest_queued_at` is when the
    first job in the queue was created. `stored_bytes` are the bytes by kind: models and samples
    that the jobs need, analyses of the models, and artifacts.
    """

    states: Mapping[State, int]
    oldest_queued_at: datetime | None
    failures: Mapping[str, int]
    stored_bytes: Mapping[str, int]


class WorkerState(NamedTuple):
    """A live worker: the jobs that it can run at a time (`slots`) and that it holds (`leases`)."""

    name: str
    slots: int
    started_at: datetime
    seen_at: datetime
    leases: int


class Histogram(NamedTuple):
    """Durations: how many were at most each bound of the buckets, and their total in seconds."""

    at_most: tuple[int, ...]
    total: float


@dataclass(frozen=True)
class Service:
    """Statistics of the whole service.

    `finished` counts all jobs that have ever ended, also deleted ones, by state and, for failed
    jobs, code. `overdue_leases` have run out and are not returned yet. `phases` are histograms by
    phase with the bounds `counters.BUCKETS`; `requests` by method, route and status with the bounds
    `counters.REQUEST_BUCKETS`; `loop_failures` are counts by loop and kind of error.
    """

    workers: tuple[WorkerState, ...]
    leases: int
    overdue_leases: int
    due_webhooks: int
    finished: Mapping[tuple[State, str], int]
    phases: Mapping[str, Histogram]
    flops_saved: float
    requests: Mapping[tuple[str, str, str], Histogram]
    loop_failures: Mapping[tuple[str, str], int]


@dataclass
class Bucket:
    """The jobs that were created and ended between `start` and the next bucket's start."""

    start: datetime
    created: int = 0
    ended: dict[State, int] = field(
        default_factory=lambda: dict.fromkeys(sorted(TERMINAL), 0)
    )


def job_statistics(session: Session) -> Jobs:
    """Return the statistics of the jobs that the current owner may see."""
    by_state = select(Job.state, func.count()).group_by(Job.state)
    counts = dict(iter(session.execute(by_state)))
    failures = (
        select(Event.detail, func.count())
        .where(Event.state == "failed")
        .group_by(Event.detail)
    )
    oldest_queued = select(func.min(Job.created_at)).where(Job.state == "queued")
    return Jobs(
        states={**dict.fromkeys(get_args(State), 0), **counts},
        oldest_queued_at=session.scalar(oldest_queued),
        failures=dict(iter(session.execute(_own_events(failures)))),
        stored_bytes=_stored_bytes(session),
    )


def service_statistics(session: Session) -> Service:
    """Return the statistics of the whole service, for callers who may see all jobs."""
    at = now(session)
    sums = counters.read(session)
    leases, overdue = _leases(session, at)
    due_webhooks = select(func.count()).where(Delivery.due_at <= at)
    return Service(
        workers=_workers(session, at),
        leases=leases,
        overdue_leases=overdue,
        due_webhooks=session.scalar(due_webhooks) or 0,
        finished=_finished(session, sums),
        phases=_histograms(sums, counters.PHASE, counters.BUCKETS),
        flops_saved=sums.get((counters.FLOPS_SAVED, ""), 0.0),
        requests=_requests(sums),
        loop_failures=_loop_failures(sums),
    )


def history(session: Session, span: Span) -> list[Bucket]:
    """Return the history of the jobs that the current owner may see, in buckets of a span.

    The oldest bucket comes first; the last one is still open.
    """
    seconds, number = SPANS[span]
    last = int(now(session).timestamp()) // seconds
    indexes = range(last - number + 1, last + 1)
    buckets = {
        index: Bucket(datetime.fromtimestamp(index * seconds, UTC)) for index in indexes
    }
    since = buckets[indexes[0]].start

    index_of = bucket_index(session, Job.created_at, seconds)
    # One query for each kind: a join of jobs and events would count a job once for each event.
    created = (
        select(index_of, func.count()).where(Job.created_at >= since).group_by(index_of)
    )
    for index, count in session.execute(created):
        # A clock that was set back leaves jobs in the future, which have no bucket.
        if index in buckets:
            buckets[index].created = count

    index_of = bucket_index(session, Event.at, seconds)
    ended = (
        select(index_of, Event.state, func.count())
        .where(Event.state.in_(TERMINAL), Event.at >= since)
        .group_by(index_of, Event.state)
    )
    for index, state, count in session.execute(_own_events(ended)):
        if index in buckets:
            buckets[index].ended[state] = count
    return list(buckets.values())


def _own_events(query: Select[*Columns]) -> Select[*Columns]:
    """Restrict a query of events to jobs that the current owner may see.

    Sessions restrict queries of jobs only, so that for all owners the join can be left out.
    """
    if current_owner.get() is None:
        return query
    return query.join(Job, Job.id == Event.job_id)


def _stored_bytes(session: Session) -> Mapping[str, int]:
    artifacts = select(func.sum(Job.artifact_bytes)).where(Job.expired_at.is_(None))
    return {
        "models": _upload_bytes(session, MODELS, Model.bytes),
        "analyses": _upload_bytes(session, MODELS, Model.analysis_bytes),
        "samples": _upload_bytes(session, SAMPLES, Samples.bytes),
        "evaluations": _upload_bytes(session, EVALUATIONS, Evaluation.bytes),
        "artifacts": session.scalar(artifacts) or 0,
    }


def _upload_bytes(
    session: Session, kept: UploadKind, column: InstrumentedAttribute[int]
) -> int:
    size = select(func.sum(column)).where(kept.table.expired_at.is_(None))
    if current_owner.get() is not None:
        size = size.where(kept.table.sha256.in_(select(kept.needed_by)))
    return session.scalar(size) or 0


def _leases(session: Session, at: datetime) -> tuple[int, int]:
    """Return the number of leases, and the number of those that have run out."""
    is_overdue = case((Job.lease_expires_at < at, 1), else_=0)
    running = select(func.count(), func.sum(is_overdue)).where(Job.state == "running")
    leases, overdue = session.execute(running).one()
    return leases, overdue or 0


def _workers(session: Session, at: datetime) -> tuple[WorkerState, ...]:
    # A lease's owner is the worker's name, a colon and a random part.
    owners = session.scalars(select(Job.lease_owner).where(Job.state == "running"))
    leases = Counter(owner.rpartition(":")[0] for owner in owners if owner)
    seen_since = at - timedelta(seconds=SILENT_SECONDS)
    live = select(Worker).where(Worker.seen_at > seen_since).order_by(Worker.name)
    return tuple(
        WorkerState(
            worker.name,
            worker.slots,
            worker.started_at,
            worker.seen_at,
            leases[worker.name],
        )
        for worker in session.scalars(live)
    )


def _finished(
    session: Session, sums: counters.Amounts
) -> Mapping[tuple[State, str], int]:
    ended = (
        select(Event.state, Event.detail, func.count())
        .where(Event.state.in_(TERMINAL))
        .group_by(Event.state, Event.detail)
    )
    counts: Counter[tuple[State, str]] = Counter()
    for state, detail, count in session.execute(ended):
        # Only the detail of a failure is a code.
        code = detail if state == "failed" else ""
        counts[state, code] += count
    for (name, label), deleted in sums.items():
        if name == counters.FORGOTTEN:
            last_state, _, code = label.partition(" ")
            counts[cast("State", last_state), code] += int(deleted)
    return counts


def _histograms(
    sums: counters.Amounts, name: str, bounds: Sequence[float]
) -> Mapping[str, Histogram]:
    """Return the histograms of a name, by their labels without bound or `sum`."""
    by_series: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for (each, label), amount in sums.items():
        if each == name:
            series, _, bound = label.rpartition(" ")
            by_series[series][bound] = amount
    return {
        series: _histogram(by_series[series], bounds) for series in sorted(by_series)
    }


def _histogram(amounts: Mapping[str, float], bounds: Sequence[float]) -> Histogram:
    # Stored per bucket; Prometheus expects cumulative counts.
    counts = [int(amounts.get(f"{bound:g}", 0)) for bound in bounds]
    return Histogram(tuple(accumulate(counts)), amounts["sum"])


def _loop_failures(sums: counters.Amounts) -> Mapping[tuple[str, str], int]:
    """Return the failures of loops, by loop and kind of error."""
    failures = {}
    for (name, label), amount in sums.items():
        if name == counters.LOOP_FAILURE:
            loop, _, kind = label.partition(" ")
            failures[loop, kind] = int(amount)
    return failures


def _requests(sums: counters.Amounts) -> Mapping[tuple[str, str, str], Histogram]:
    requests = {}
    histograms = _histograms(sums, counters.REQUEST, counters.REQUEST_BUCKETS)
    for series, histogram in histograms.items():
        method, route, status = series.split(" ")
        requests[method, route, status] = histogram
    return requests


def bucket_index(
    session: Session,
    at: ColumnElement[datetime] | InstrumentedAttribute[datetime],
    seconds: int,
) -> ColumnElement[int]:
    """Return the number of whole buckets of `seconds` since 1970."""
    # Written out: PostgreSQL takes a parameter in SELECT and one in GROUP BY for two expressions.
    size = literal_column(str(seconds), BigInteger)
    if session.get_bind().dialect.name == "sqlite":
        epoch = func.strftime("%s", at).cast(Integer)
        return epoch.op("/", return_type=BigInteger())(size)
    return func.floor(extract("epoch", at) / size).cast(BigInteger)
