"""The figures of a service, read from SQL when they are asked for, so that any number of processes tell the same."""

from collections import Counter
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

from app.db.models import Delivery, Event, Job, Model, Samples, Worker
from app.db.session import now
from app.identity import current_owner
from app.stats import counters
from app.uploads.retention import MODELS, SAMPLES, UploadKind
from convpress.states import TERMINAL, State

SILENT_SECONDS = 60.0
"""After so long without a sign a worker counts for none."""

Columns = TypeVarTuple("Columns")
Span = Literal["minute", "hour", "day"]
SPANS: Mapping[Span, tuple[int, int]] = {"minute": (60, 60), "hour": (3600, 48), "day": (86400, 30)}
"""Seconds of a bucket, and how many there are."""


@dataclass(frozen=True)
class Jobs:
    """The jobs that whoever asks may see.

    `states` counts those that are known, `oldest_queued_at` is since when the first in the queue waits. `failures`
    counts by code. `stored_bytes` are by kind: the uploads that these jobs need, what was learned of these models, and
    the artifacts.
    """

    states: Mapping[State, int]
    oldest_queued_at: datetime | None
    failures: Mapping[str, int]
    stored_bytes: Mapping[str, int]


class Presence(NamedTuple):
    """A worker that lives, how many jobs it can run at a time, and how many leases it holds."""

    name: str
    slots: int
    started_at: datetime
    seen_at: datetime
    leases: int


class Histogram(NamedTuple):
    """How long something took: for each bound of its buckets how many times at most that, and the sum of seconds."""

    at_most: tuple[int, ...]
    total: float


@dataclass(frozen=True)
class Service:
    """What concerns the service as a whole.

    `finished` counts all jobs that have ended since the beginning, by state and, of failed ones, code; forgotten ones
    too. `overdue_leases` have run out and are still to be returned. `phases` are known by name, `requests` by method,
    route and status; their bounds are `tallies.BUCKETS` and `tallies.REQUEST_BUCKETS`.
    """

    workers: tuple[Presence, ...]
    leases: int
    overdue_leases: int
    due_webhooks: int
    finished: Mapping[tuple[State, str], int]
    phases: Mapping[str, Histogram]
    flops_saved: float
    requests: Mapping[tuple[str, str, str], Histogram]


@dataclass
class Bucket:
    """What happened between `start` and the next bucket's."""

    start: datetime
    created: int = 0
    ended: dict[State, int] = field(default_factory=lambda: dict.fromkeys(sorted(TERMINAL), 0))


def of_jobs(session: Session) -> Jobs:
    """Read the figures of the jobs that the current owner may see."""
    counted = session.execute(select(Job.state, func.count()).group_by(Job.state))
    failed = (
        select(Event.detail, func.count()).where(Event.state == "failed").group_by(Event.detail)
    )
    artifacts = select(func.sum(Job.artifact_bytes)).where(Job.expired_at.is_(None))
    return Jobs(
        states={**dict.fromkeys(get_args(State), 0), **dict(iter(counted))},
        oldest_queued_at=session.scalar(
            select(func.min(Job.created_at)).where(Job.state == "queued")
        ),
        failures=dict(iter(session.execute(_own_events(failed)))),
        stored_bytes={
            "models": _upload_bytes(session, MODELS, Model.bytes),
            "analyses": _upload_bytes(session, MODELS, Model.analysis_bytes),
            "samples": _upload_bytes(session, SAMPLES, Samples.bytes),
            "artifacts": session.scalar(artifacts) or 0,
        },
    )


def of_service(session: Session) -> Service:
    """Read the figures of the whole service; for those alone who may see the jobs of all owners."""
    at = now(session)
    sums = counters.read(session)
    overdue = func.sum(case((Job.lease_expires_at < at, 1), else_=0))
    leases, late = session.execute(
        select(func.count(), overdue).where(Job.state == "running")
    ).one()
    return Service(
        workers=_workers(session, at),
        leases=leases,
        overdue_leases=late or 0,
        due_webhooks=session.scalar(select(func.count()).where(Delivery.due_at <= at)) or 0,
        finished=_finished(session, sums),
        phases=_histograms(sums, counters.PHASE, counters.BUCKETS),
        flops_saved=sums.get((counters.FLOPS_SAVED, ""), 0.0),
        requests=_requests(sums),
    )


def history(session: Session, span: Span) -> list[Bucket]:
    """Read what happened to the jobs that the current owner may see, oldest bucket first; the last is still open."""
    seconds, number = SPANS[span]
    first = int(now(session).timestamp()) // seconds - number + 1
    buckets = [
        Bucket(datetime.fromtimestamp((first + index) * seconds, UTC)) for index in range(number)
    ]
    since = buckets[0].start
    slot = _slot(session, Job.created_at, seconds)
    created = select(slot, func.count()).where(Job.created_at >= since).group_by(slot)
    for index, count in session.execute(created):
        if index - first < number:  # a clock that went back has left jobs in the future
            buckets[index - first].created = count
    slot = _slot(session, Event.at, seconds)
    ended = select(slot, Event.state, func.count()).where(
        Event.state.in_(TERMINAL), Event.at >= since
    )
    for index, state, count in session.execute(_own_events(ended.group_by(slot, Event.state))):
        if index - first < number:
            buckets[index - first].ended[state] = count
    return buckets


def _own_events(query: Select[*Columns]) -> Select[*Columns]:
    """Confine a query of events to those of jobs that the current owner may see; the sessions confine jobs."""
    return query if current_owner.get() is None else query.join(Job, Job.id == Event.job_id)


def _upload_bytes(session: Session, kept: UploadKind, column: InstrumentedAttribute[int]) -> int:
    size = select(func.sum(column)).where(kept.table.expired_at.is_(None))
    if current_owner.get() is not None:
        size = size.where(kept.table.sha256.in_(select(kept.needed_by)))
    return session.scalar(size) or 0


def _workers(session: Session, at: datetime) -> tuple[Presence, ...]:
    owners = session.scalars(select(Job.lease_owner).where(Job.state == "running"))
    held = Counter(owner.rpartition(":")[0] for owner in owners if owner)
    living = (
        select(Worker)
        .where(Worker.seen_at > at - timedelta(seconds=SILENT_SECONDS))
        .order_by(Worker.name)
    )
    return tuple(
        Presence(worker.name, worker.slots, worker.started_at, worker.seen_at, held[worker.name])
        for worker in session.scalars(living)
    )


def _finished(session: Session, sums: counters.Amounts) -> Mapping[tuple[State, str], int]:
    known = select(Event.state, Event.detail, func.count()).where(Event.state.in_(TERMINAL))
    counted: Counter[tuple[State, str]] = Counter()
    for state, detail, count in session.execute(known.group_by(Event.state, Event.detail)):
        counted[state, detail if state == "failed" else ""] += count
    for (name, label), forgotten in sums.items():
        if name == counters.FORGOTTEN:
            ended, _, code = label.partition(" ")
            counted[cast("State", ended), code] += int(forgotten)
    return counted


def _histograms(
    sums: counters.Amounts, name: str, bounds: Sequence[float]
) -> Mapping[str, Histogram]:
    """Return the histograms of one name, by what stands before the bound in their labels."""
    series = sorted({label.rpartition(" ")[0] for told, label in sums if told == name})
    return {
        each: Histogram(
            tuple(accumulate(int(sums.get((name, f"{each} {bound:g}"), 0)) for bound in bounds)),
            sums[name, f"{each} sum"],
        )
        for each in series
    }


def _requests(sums: counters.Amounts) -> Mapping[tuple[str, str, str], Histogram]:
    told = _histograms(sums, counters.REQUEST, counters.REQUEST_BUCKETS)
    split = [(series.split(" "), times) for series, times in told.items()]
    return {(method, route, status): times for (method, route, status), times in split}


def _slot(
    session: Session, at: InstrumentedAttribute[datetime], seconds: int
) -> ColumnElement[int]:
    """Number the buckets since 1970."""
    size = literal_column(str(seconds), BigInteger)
    if session.get_bind().dialect.name == "sqlite":
        return func.strftime("%s", at).cast(Integer).op("/", return_type=BigInteger())(size)
    return func.floor(extract("epoch", at) / size).cast(BigInteger)
