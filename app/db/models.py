"""The tables of the database. SQL is the truth; the broker and the files follow it."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Uuid,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from app.db.options import options_of
from app.identity import posting_owner
from app.tracing import current_request, traceparent
from convpress import max_loss
from convpress.options import COMPRESSION, JobOptions
from convpress.states import State


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time, also on databases that store no time zone (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> datetime | None:
        """Store UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> datetime | None:
        """Load UTC."""
        if value is None:
            return None
        return (
            value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        )


class Base(DeclarativeBase):
    """The base of all tables.

    The convention names their constraints, so that migrations can refer to them.
    """

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        datetime: UtcDateTime,
        int: BigInteger,
        dict[str, Any]: JSON(none_as_null=True),
        list[dict[str, Any]]: JSON(none_as_null=True),
    }


class Model(Base):
    """An uploaded model, identified by the SHA-256 of its bytes and stored once.

    `used_at` is the time of the last job for it; `expired_at` the time when its file was deleted,
    until the model is uploaded again. `analysis_bytes` is the size of its analyses in the store;
    `inspection` is the `convpress.report.Inspection` that the last job for it wrote.
    """

    __tablename__ = "models"
    __table_args__ = (Index(None, "expired_at", "used_at"),)

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    format: Mapped[str] = mapped_column(String(16))
    bytes: Mapped[int]
    analysis_bytes: Mapped[int] = mapped_column(default=0, server_default="0")
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]
    expired_at: Mapped[datetime | None]
    # Deferred, because it is long and every job loads its model.
    inspection: Mapped[dict[str, Any] | None] = mapped_column(deferred=True)


class OwnedModel(Base):
    """What the jobs of one owner found out about a model; other owners do not see it.

    `analysis_bytes` is the size of the owner's analysis in the store; `inspection` is what the
    owner's last job for the model wrote.
    """

    __tablename__ = "owned_models"

    model_sha256: Mapped[str] = mapped_column(
        ForeignKey("models.sha256", ondelete="CASCADE"), primary_key=True
    )
    owner: Mapped[str] = mapped_column(String(63), primary_key=True)
    analysis_bytes: Mapped[int] = mapped_column(default=0, server_default="0")
    inspection: Mapped[dict[str, Any] | None]


class Samples(Base):
    """Uploaded real inputs of a model, identified and stored in the same way as models."""

    __tablename__ = "samples"
    __table_args__ = (Index(None, "expired_at", "used_at"),)

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    bytes: Mapped[int]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]
    expired_at: Mapped[datetime | None]


class Evaluation(Base):
    """Uploaded labels or targets with their inputs, identified and stored as models are."""

    __tablename__ = "evaluations"
    __table_args__ = (Index(None, "expired_at", "used_at"),)

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    bytes: Mapped[int]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]
    expired_at: Mapped[datetime | None]


class Job(Base):
    """One compression of one model to one budget, or to several at once; or the advice on one.

    `lease_owner` and `lease_expires_at` are set exactly while the state is `running`; `attempt`
    counts claims. `expired_at` is the time when retention deleted the results, and
    `artifact_damaged_at` when the stored artifact was found to have changed.
    `app.jobs.transitions` alone changes the state.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(
            f"state IN ({', '.join(repr(state) for state in get_args(State))})",
            name="state",
        ),
        Index(None, "created_at", "id"),
        Index(None, "state", "created_at"),
        Index(None, "expired_at", "finished_at"),
        Index(None, "owner", "idempotency_key", unique=True),
        Index(None, "owner", "created_at", "id"),
        Index(None, "model_sha256", "created_at", "id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    state: Mapped[State] = mapped_column(String(16), default="queued")
    phase: Mapped[str | None] = mapped_column(String(16))
    progress: Mapped[float] = mapped_column(default=0.0)
    # Of a running job, as its worker saw it last; None where too little is done to say.
    eta_seconds: Mapped[float | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    owner: Mapped[str] = mapped_column(
        String(63), default=posting_owner.get, server_default=""
    )
    model_sha256: Mapped[str] = mapped_column(ForeignKey("models.sha256"))
    filename: Mapped[str] = mapped_column(String(255))
    # A budget that the job does not have is empty.
    flops_budget: Mapped[str] = mapped_column(String(40), default="")
    params_budget: Mapped[str] = mapped_column(
        String(40), default="", server_default=""
    )
    bytes_budget: Mapped[str] = mapped_column(String(40), default="", server_default="")
    latency_budget: Mapped[str] = mapped_column(
        String(40), default="", server_default=""
    )
    max_loss: Mapped[str | None] = mapped_column(String(40))
    flops_at_any_price: Mapped[bool] = mapped_column(
        default=False, server_default=false()
    )
    allow_incomplete_account: Mapped[bool] = mapped_column(
        default=False, server_default=false()
    )
    precision: Mapped[str] = mapped_column(
        String(8), default="float", server_default="float"
    )
    kind: Mapped[str] = mapped_column(
        String(16), default=COMPRESSION, server_default=COMPRESSION
    )
    input_shape: Mapped[str | None] = mapped_column(String(2000))
    calibration: Mapped[str] = mapped_column(String(16), default="synthetic")
    # Not a foreign key: SQLite cannot add one to an existing table.
    samples_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    # Not a foreign key, for the same reason.
    evaluation_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    evaluation_metric: Mapped[str | None] = mapped_column(String(16))
    evaluation_output: Mapped[str | None] = mapped_column(String(1000))
    input_range: Mapped[str | None] = mapped_column(String(2000))
    input_mean: Mapped[str | None] = mapped_column(String(2000))
    input_std: Mapped[str | None] = mapped_column(String(2000))
    target: Mapped[str | None] = mapped_column(String(40))
    threads: Mapped[int | None]
    labels: Mapped[dict[str, Any]] = mapped_column(default=dict)
    note: Mapped[str | None] = mapped_column(String(2000))
    webhook_url: Mapped[str | None] = mapped_column(String(2000))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(
        String(64), default=current_request.get
    )
    traceparent: Mapped[str | None] = mapped_column(String(64), default=traceparent)

    lease_owner: Mapped[str | None] = mapped_column(String(255))
    lease_expires_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=0)

    macs_before: Mapped[int | None]
    macs_after: Mapped[int | None]
    # None where an earlier version ended the job, which did not look for them.
    unaccounted: Mapped[list[dict[str, Any]] | None]
    artifact_sha256: Mapped[str | None] = mapped_column(String(64))
    artifact_bytes: Mapped[int | None]
    artifact_damaged_at: Mapped[datetime | None]
    report_sha256: Mapped[str | None] = mapped_column(String(64))
    # Of the report, for lists of jobs; None where an earlier version ended the job.
    measured_error: Mapped[float | None]
    risk_level: Mapped[str | None] = mapped_column(String(16))
    # The figures of the user's own metric; None without an evaluation.
    evaluation: Mapped[dict[str, Any] | None]
    # The choice and the sentence of an advice; its report has all that was measured.
    advice: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    expired_at: Mapped[datetime | None]

    model: Mapped[Model] = relationship(lazy="joined", innerjoin=True)

    @property
    def options(self) -> JobOptions:
        """What the job asks for."""
        return options_of(self)

    @property
    def budgets(self) -> Mapping[str, str]:
        """The budgets as the client wrote them, by field, with the largest loss among them."""
        options = self.options
        if options.max_loss is None:
            return options.budgets
        return {max_loss.FIELD: options.max_loss, **options.budgets}


class JobLabel(Base):
    """A label of a job, for the index by label and time.

    `Job.labels` has all labels of a job together.
    """

    __tablename__ = "job_labels"
    __table_args__ = (Index(None, "name", "value", "created_at", "job_id"),)

    job_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    value: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime]


class Event(Base):
    """One change of a job's state, for the audit trail and for followers of the job.

    The ids grow with time.
    """

    __tablename__ = "events"
    __table_args__ = (Index(None, "job_id", "id"), Index(None, "state", "at", "detail"))

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True
    )
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    state: Mapped[State] = mapped_column(String(16))
    attempt: Mapped[int]
    worker: Mapped[str | None] = mapped_column(String(255))
    detail: Mapped[str] = mapped_column(String(255))


class JobLog(Base):
    """The end of what the child of one attempt wrote to standard error, in printable lines.

    Not a column of the job, which every poll reads.
    """

    __tablename__ = "job_logs"

    job_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(16384))


class Delivery(Base):
    """One call of a job's webhook.

    `due_at` is set until the call was answered or was tried for the last time.
    """

    __tablename__ = "deliveries"
    __table_args__ = (Index(None, "job_id"),)

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    event: Mapped[str | None] = mapped_column(
        String(32)
    )  # a name of `app.webhooks.events`
    created_at: Mapped[datetime]
    due_at: Mapped[datetime | None] = mapped_column(index=True)
    attempt: Mapped[int] = mapped_column(default=0)
    delivered_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(String(255))


class Counter(Base):
    """A counter that only grows; `app.stats.counters` has the names."""

    __tablename__ = "tallies"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    label: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[float]


class Worker(Base):
    """A worker process, alive as long as `seen_at` is recent.

    `slots` is the number of jobs that it runs at a time.
    """

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    slots: Mapped[int]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
