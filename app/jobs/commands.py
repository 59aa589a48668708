"""What a client can do with a job: create, repeat, read, cancel and delete it.

All are plain functions over one session.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.db.models import Evaluation, Event, Job, JobLabel, Model, Samples
from app.db.options import columns_of
from app.db.session import now
from app.db.upsert import insert
from app.errors import Problem
from app.identity import current_owner, posting_owner
from app.jobs.loader import not_found
from app.jobs.transitions import Changed, change, record
from app.stats import counters
from app.storage import Storage, evaluation_key, model_key, samples_key
from app.uploads.submission import Submission
from app.uploads.upload import Upload
from convpress.budgets import FLOPS
from convpress.formats import named
from convpress.gate.required_shape import require_shape
from convpress.precision import require_onnx
from convpress.states import TERMINAL

UploadTable = type[Model] | type[Samples] | type[Evaluation]


def create(
    session: Session, storage: Storage, submission: Submission, key: str | None = None
) -> tuple[Job, bool]:
    """Store the files of a submission and add a queued job; the flag tells whether the job is new.

    The rows of the uploads, which all their jobs share, stay locked until the caller
    commits, so that nobody deletes the files before the job is visible. A repeated idempotency key
    returns its earlier job.

    Raises:
        Problem: `model_not_found`, `model_gone`, `samples_gone`, `evaluation_gone`,
            `idempotency_key_reused`.
        Refusal: `input_shape_required`.
    """
    fingerprint = submission.fingerprint()
    if key is not None and (earlier := _with_key(session, key, fingerprint)):
        return earlier, False
    at = now(session)
    _store_model(session, storage, submission, at)
    _store_samples(session, storage, submission, at)
    _store_evaluation(session, storage, submission, at)
    job_id = _add_row(session, submission, key, fingerprint, at)
    if job_id is None:
        # Another request with the same key was faster.
        assert key is not None
        if earlier := _with_key(session, key, fingerprint):
            return earlier, False
        # Its job was deleted meanwhile, so that the key is free again.
        return create(session, storage, submission, key)
    job = session.get_one(Job, job_id)
    _add_labels(session, job, at)
    record(
        session, at, "queued", "accepted", [Changed(job.id, 0, job.webhook_url, None)]
    )
    return job, True


def _add_row(
    session: Session,
    submission: Submission,
    key: str | None,
    fingerprint: str,
    at: datetime,
) -> uuid.UUID | None:
    """Insert the row of a new job, and return its id.

    Return None where the owner's key has a job already.
    """
    row = {
        "id": uuid.uuid4(),
        "created_at": at,
        "model_sha256": submission.sha256,
        "filename": submission.filename,
        **columns_of(submission.options),
        "labels": submission.labels,
        "webhook_url": submission.webhook_url,
        "idempotency_key": key,
        "fingerprint": fingerprint,
    }
    added = insert(session, Job).values(row)
    added = added.on_conflict_do_nothing(index_elements=["owner", "idempotency_key"])
    job_id: uuid.UUID | None = session.scalar(added.returning(Job.id))
    return job_id


def _add_labels(session: Session, job: Job, at: datetime) -> None:
    rows = [
        {"job_id": job.id, "name": name, "value": value, "created_at": at}
        for name, value in job.labels.items()
    ]
    if rows:
        session.execute(insert(session, JobLabel), rows)


def repeat(
    session: Session,
    storage: Storage,
    job_id: str,
    *,
    budgets: Mapping[str, str] | None = None,
    max_loss: str | None = None,
    input_shape: str | None = None,
    allow_incomplete_account: bool = False,
) -> Job:
    """Add a job with the model and the options of an earlier job, except for the given options.

    A FLOPs budget replaces all budgets of a job that had none for FLOPs, and its largest loss; any
    other budget joins or replaces its own kind alone. A largest loss replaces the FLOPs budget.

    Raises:
        Problem: `job_not_found`, `model_gone`, `samples_gone`, `evaluation_gone`.
    """
    job = get(session, job_id)
    new_budgets = dict(budgets or {})
    kept_budgets = dict(job.options.budgets)
    has_flops_budget = FLOPS.field in new_budgets
    if has_flops_budget and FLOPS.field not in kept_budgets and job.max_loss is None:
        kept_budgets.clear()
    if max_loss is not None:
        kept_budgets.pop(FLOPS.field, None)
    options = replace(
        job.options,
        budgets=kept_budgets | new_budgets,
        max_loss=None if has_flops_budget else max_loss or job.max_loss,
        input_shape=input_shape or job.input_shape,
        allow_incomplete_account=allow_incomplete_account
        or job.allow_incomplete_account,
    )
    submission = Submission(
        sha256=job.model_sha256,
        filename=job.filename,
        options=options,
        labels=job.labels,
        webhook_url=job.webhook_url,
    )
    return create(session, storage, submission)[0]


def _store_model(
    session: Session, storage: Storage, submission: Submission, at: datetime
) -> None:
    """Store the model of a submission, or note that the stored one is used; lock its row."""
    upload = submission.upload
    if upload:
        _store(session, storage, Model, model_key, upload, at, format=upload.format)
        return
    model = get_model(session, submission.sha256)
    require_onnx(submission.options.precision, named(model.format))
    require_shape(named(model.format), submission.options.input_shape)
    if not _touch(session, Model, submission.sha256, at):
        raise Problem(
            "model_gone",
            "the model has expired; upload it again",
            field="model_sha256",
            got=submission.sha256,
        )


def _store_samples(
    session: Session, storage: Storage, submission: Submission, at: datetime
) -> None:
    """Store the samples of a submission, or note that the stored ones are used; lock their row."""
    sha256 = submission.options.samples_sha256
    if submission.samples:
        _store(session, storage, Samples, samples_key, submission.samples, at)
    elif sha256 and not _touch(session, Samples, sha256, at):
        raise Problem(
            "samples_gone",
            "the samples have expired; send them again",
            field="samples",
            got=sha256,
        )


def _store_evaluation(
    session: Session, storage: Storage, submission: Submission, at: datetime
) -> None:
    """Store the evaluation of a submission, or note that the stored one is used; lock its row."""
    sha256 = submission.options.evaluation_sha256
    if submission.evaluation:
        _store(session, storage, Evaluation, evaluation_key, submission.evaluation, at)
    elif sha256 and not _touch(session, Evaluation, sha256, at):
        raise Problem(
            "evaluation_gone",
            "the evaluation has expired; send it again",
            field="evaluation",
            got=sha256,
        )


def _touch(session: Session, table: UploadTable, sha256: str, at: datetime) -> bool:
    """Note that a stored upload is used, and return whether its file is still there."""
    used = update(table).where(table.sha256 == sha256, table.expired_at.is_(None))
    used_row = used.values(used_at=at).returning(table.sha256)
    return bool(session.scalar(used_row.execution_options(synchronize_session=False)))


def _store(
    session: Session,
    storage: Storage,
    table: UploadTable,
    key: Callable[[str], str],
    upload: Upload,
    at: datetime,
    **columns: str | None,
) -> None:
    """Put an upload under its key in the store, and lock its row."""
    row = {
        "sha256": upload.sha256,
        "bytes": upload.bytes,
        "created_at": at,
        "used_at": at,
        **columns,
    }
    renewed = {"used_at": at, "expired_at": None}
    added = insert(session, table).values(row)
    session.execute(
        added.on_conflict_do_update(index_elements=["sha256"], set_=renewed)
    )
    # The file is under its key already where `create` calls itself after a lost race.
    if upload.staged.exists():
        storage.keep(upload.staged, key(upload.sha256))


def _with_key(session: Session, key: str, fingerprint: str) -> Job | None:
    """Return the job that the posting owner created under an idempotency key."""
    query = select(Job).where(
        Job.owner == posting_owner.get(), Job.idempotency_key == key
    )
    job = session.scalar(query)
    if job is not None and job.fingerprint != fingerprint:
        raise Problem(
            "idempotency_key_reused",
            f"this key belongs to job {job.id}, which was used with a different request",
            field="Idempotency-Key",
            expected="a key for every new job",
            got=key[:80],
        )
    return job


def get_model(session: Session, sha256: str) -> Model:
    """Return an uploaded model; an owner sees only the models of the owner's jobs.

    Raises:
        Problem: `model_not_found`.
    """
    model = session.get(Model, sha256) if sha256.isalnum() else None
    if model is None or not _is_visible(session, model):
        raise model_not_found(sha256)
    return model


def model_not_found(sha256: str) -> Problem:
    """Return the problem of an unknown model."""
    return Problem(
        "model_not_found",
        "there is no model of this SHA-256",
        field="model_sha256",
        expected="the SHA-256 of a stored model, or the file itself in the field model",
        got=sha256[:80],
    )


def _is_visible(session: Session, model: Model) -> bool:
    if current_owner.get() is None:
        return True
    # The session confines the query to jobs of the owner.
    used = select(Job.id).where(Job.model_sha256 == model.sha256).limit(1)
    return session.scalar(used) is not None


def get(session: Session, job_id: str) -> Job:
    """Return a job.

    Raises:
        Problem: `job_not_found`, also where `job_id` is not a UUID.
    """
    try:
        job = session.get(Job, uuid.UUID(job_id))
    except ValueError:
        job = None
    if job is None:
        raise not_found(job_id)
    return job


def mark_artifact(session: Session, job_id: uuid.UUID, *, is_damaged: bool) -> None:
    """Note that a job's stored artifact was found damaged, or is whole again."""
    damaged_at = now(session) if is_damaged else None
    marked = update(Job).where(Job.id == job_id).values(artifact_damaged_at=damaged_at)
    session.execute(marked.execution_options(synchronize_session=False))


def get_succeeded(session: Session, job_id: str) -> Job:
    """Return a job that has succeeded, so that its report is stored.

    Raises:
        Problem: `job_not_found`, `job_unfinished` or `job_failed`.
    """
    job = get(session, job_id)
    if job.state not in TERMINAL:
        raise _unfinished(
            f"the job is still {job.state}",
            expected="succeeded",
            got=job.state,
            headers={"Retry-After": "1"},
        )
    if job.state != "succeeded":
        detail = (
            f"the job failed: {job.error['detail']}"
            if job.error
            else "the job was cancelled"
        )
        raise Problem("job_failed", detail, expected="succeeded", got=job.state)
    return job


def events_after(session: Session, job_id: uuid.UUID, seen: int) -> list[Event]:
    """Return the changes of a job's state after the event with the id `seen`, oldest first."""
    query = (
        select(Event).where(Event.job_id == job_id, Event.id > seen).order_by(Event.id)
    )
    return list(session.scalars(query))


def cancel(session: Session, job_id: str) -> Job:
    """Cancel a job; its worker loses the lease and stops. A cancelled job can be cancelled again.

    Raises:
        Problem: `job_not_found`, or `job_finished` where the job has succeeded or failed.
    """
    job = get(session, job_id)
    which = (Job.id == job.id, Job.state.not_in(TERMINAL))
    change(session, now(session), "cancelled", "on request", *which)
    session.refresh(job)
    if job.state != "cancelled":
        raise Problem(
            "job_finished",
            f"the job has {job.state}",
            expected="queued or running",
            got=job.state,
        )
    return job


def forget(session: Session, job_id: str) -> Job:
    """Delete the row of a job that has ended, with all rows that refer to it.

    The caller deletes the files.

    Raises:
        Problem: `job_not_found` or `job_unfinished`.
    """
    job = get(session, job_id)
    code = select(Event.detail).where(Event.job_id == job.id, Event.state == "failed")
    ended = counters.of_forgotten(job.state, session.scalar(code) or "")
    gone = (
        delete(Job).where(Job.id == job.id, Job.state.in_(TERMINAL)).returning(Job.id)
    )
    if session.scalar(gone.execution_options(synchronize_session=False)) is None:
        raise _unfinished(
            f"the job is still {job.state}; cancel it first",
            expected="a job that has ended",
        )
    counters.add(session, ended)
    session.expunge(job)
    return job


def _unfinished(detail: str, **members: Any) -> Problem:  # noqa: ANN401 - those of `Problem`
    return Problem("job_unfinished", detail, **members)
