"""What can be done to a job, and its queries: plain functions over one session."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.db.models import Event, Job, JobLabel, Model, Samples
from app.db.options import columns_of
from app.db.session import now
from app.db.upsert import insert
from app.errors import Problem
from app.identity import current_owner, posting_owner
from app.jobs.loader import not_found
from app.jobs.transitions import Changed, change, record
from app.stats import counters
from app.storage import Storage, model_key, samples_key
from app.uploads.submission import Submission
from app.uploads.upload import Upload
from convpress.budgets import FLOPS
from convpress.states import TERMINAL


def create(
    session: Session, storage: Storage, submission: Submission, key: str | None = None
) -> tuple[Job, bool]:
    """Store what came with a submission and add a queued job for it; the flag says whether it is new.

    The rows of the model and the samples, shared by all their jobs, stay locked until the caller commits, so that
    nobody deletes the files before the job is seen to need them. An idempotency key that has a job already gives that
    job again.

    Raises:
        Problem: `model_not_found`, `model_gone`, `samples_gone`, `idempotency_key_reused`.
    """
    fingerprint = submission.fingerprint()
    if key is not None and (earlier := _with_key(session, key, fingerprint)):
        return earlier, False
    at = now(session)
    _use_model(session, storage, submission, at)
    if submission.samples:
        _keep(session, storage, Samples, samples_key, submission.samples, at)
    elif submission.options.samples_sha256:
        _use_samples(session, submission.options.samples_sha256, at)
    row = {
        "id": uuid.uuid4(),
        "model_sha256": submission.sha256,
        "created_at": at,
        "filename": submission.filename,
        **columns_of(submission.options),
        "labels": submission.labels,
        "webhook_url": submission.webhook_url,
        "idempotency_key": key,
        "fingerprint": fingerprint,
    }
    added = (
        insert(session, Job)
        .values(row)
        .on_conflict_do_nothing(index_elements=["owner", "idempotency_key"])
    )
    if (
        session.scalar(added.returning(Job.id)) is None
    ):  # another request with the same key has just been faster
        assert key is not None
        if earlier := _with_key(session, key, fingerprint):
            return earlier, False
        return create(session, storage, submission, key)  # and its job has just been forgotten
    job = session.get_one(Job, row["id"])
    labels = [
        {"job_id": job.id, "name": name, "value": value, "created_at": at}
        for name, value in job.labels.items()
    ]
    if labels:
        session.execute(insert(session, JobLabel), labels)
    record(session, at, "queued", "accepted", [Changed(job.id, 0, job.webhook_url, None)])
    return job, True


def again(
    session: Session,
    storage: Storage,
    job_id: str,
    *,
    budgets: Mapping[str, str] | None = None,
    input_shape: str | None = None,
) -> Job:
    """Add a job that asks of the same model what an earlier one did, but for what is given here.

    A FLOPs budget stands in the place of all others, unless it stood beside them before.

    Raises:
        Problem: `job_not_found`, `model_gone`, `samples_gone`.
    """
    job = get(session, job_id)
    new_budgets = dict(budgets or {})
    kept_budgets = dict(job.budgets)
    if FLOPS.field in new_budgets and not job.flops_budget:
        kept_budgets.clear()
    options = replace(
        job.options,
        budgets=kept_budgets | new_budgets,
        input_shape=input_shape or job.input_shape,
    )
    submission = Submission(
        sha256=job.model_sha256,
        filename=job.filename,
        options=options,
        labels=job.labels,
        webhook_url=job.webhook_url,
    )
    return create(session, storage, submission)[0]


def _use_model(session: Session, storage: Storage, submission: Submission, at: datetime) -> None:
    """Note that a model is used, and lock its row; store it if it has come with the submission."""
    if upload := submission.upload:
        _keep(session, storage, Model, model_key, upload, at, format=upload.format)
        return
    get_model(session, submission.sha256)
    used = (
        update(Model)
        .where(Model.sha256 == submission.sha256, Model.expired_at.is_(None))
        .values(used_at=at)
    )
    if not session.scalar(
        used.returning(Model.sha256).execution_options(synchronize_session=False)
    ):
        raise Problem(
            "model_gone",
            "the model has expired; upload it again",
            field="model_sha256",
            got=submission.sha256,
        )


def _use_samples(session: Session, sha256: str, at: datetime) -> None:
    used = (
        update(Samples)
        .where(Samples.sha256 == sha256, Samples.expired_at.is_(None))
        .values(used_at=at)
    )
    if not session.scalar(
        used.returning(Samples.sha256).execution_options(synchronize_session=False)
    ):
        raise Problem(
            "samples_gone", "the samples have expired; send them again", field="samples", got=sha256
        )


def _keep(
    session: Session,
    storage: Storage,
    table: type[Model] | type[Samples],
    key: Callable[[str], str],
    upload: Upload,
    at: datetime,
    **columns: str | None,
) -> None:
    """Store an upload under its key, and lock its row."""
    row = {
        "sha256": upload.sha256,
        "bytes": upload.bytes,
        "created_at": at,
        "used_at": at,
        **columns,
    }
    again = {"used_at": at, "expired_at": None}
    session.execute(
        insert(session, table)
        .values(row)
        .on_conflict_do_update(index_elements=["sha256"], set_=again)
    )
    if upload.staged.exists():  # it has its key already where a lost race is run again
        storage.keep(upload.staged, key(upload.sha256))


def _with_key(session: Session, key: str, fingerprint: str) -> Job | None:
    job = session.scalar(
        select(Job).where(Job.owner == posting_owner.get(), Job.idempotency_key == key)
    )
    if job is not None and job.fingerprint != fingerprint:
        raise Problem(
            "idempotency_key_reused",
            f"this key belongs to job {job.id}, which was asked for in other words",
            field="Idempotency-Key",
            expected="a key for every new job",
            got=key[:80],
        )
    return job


def get_model(session: Session, sha256: str) -> Model:
    """Return an uploaded model; to an owner, those of the owner's own jobs alone exist.

    Raises:
        Problem: `model_not_found`.
    """
    model = session.get(Model, sha256) if sha256.isalnum() else None
    used = select(Job.id).where(Job.model_sha256 == sha256).limit(1)
    if model is None or (current_owner.get() is not None and session.scalar(used) is None):
        raise Problem(
            "model_not_found",
            "there is no model of this SHA-256",
            field="model_sha256",
            got=sha256[:80],
        )
    return model


def get(session: Session, job_id: str) -> Job:
    """Return a job.

    Raises:
        Problem: `job_not_found`, also for what is no job id at all.
    """
    try:
        job = session.get(Job, uuid.UUID(job_id))
    except ValueError:
        job = None
    if job is None:
        raise not_found(job_id)
    return job


def get_succeeded(session: Session, job_id: str) -> Job:
    """Return a job whose artifact and report are stored.

    Raises:
        Problem: `job_not_found`, `job_unfinished` or `job_failed`.
    """
    job = get(session, job_id)
    if job.state not in TERMINAL:
        raise Problem(
            "job_unfinished",
            f"the job is still {job.state}",
            expected="succeeded",
            got=job.state,
            headers={"Retry-After": "1"},
        )
    if job.state != "succeeded":
        reason = job.error["detail"] if job.error else "it was stopped"
        raise Problem(
            "job_failed", f"the job has {job.state}: {reason}", expected="succeeded", got=job.state
        )
    return job


def events_after(session: Session, job_id: uuid.UUID, seen: int) -> list[Event]:
    """Return the changes of a job's state after the event `seen`, in their submission."""
    query = select(Event).where(Event.job_id == job_id, Event.id > seen).order_by(Event.id)
    return list(session.scalars(query))


def cancel(session: Session, job_id: str) -> Job:
    """End a job where it stands; its worker loses the lease and stops. Cancelling twice is cancelling.

    Raises:
        Problem: `job_not_found`, or `job_finished` where it had ended otherwise.
    """
    job = get(session, job_id)
    change(
        session,
        now(session),
        "cancelled",
        "on request",
        Job.id == job.id,
        Job.state.not_in(TERMINAL),
    )
    session.refresh(job)
    if job.state != "cancelled":
        raise Problem(
            "job_finished", f"the job has {job.state}", expected="queued or running", got=job.state
        )
    return job


def forget(session: Session, job_id: str) -> Job:
    """Delete the row of a job that has ended, and all that hangs on it; its files are the caller's to delete.

    Raises:
        Problem: `job_not_found` or `job_unfinished`.
    """
    job = get(session, job_id)
    code = select(Event.detail).where(Event.job_id == job.id, Event.state == "failed")
    ended = counters.of_forgotten(job.state, session.scalar(code) or "")
    gone = delete(Job).where(Job.id == job.id, Job.state.in_(TERMINAL)).returning(Job.id)
    if session.scalar(gone.execution_options(synchronize_session=False)) is None:
        raise Problem(
            "job_unfinished",
            f"the job is still {job.state}; cancel it first",
            expected="a job that has ended",
        )
    counters.add(session, ended)
    session.expunge(job)
    return job
