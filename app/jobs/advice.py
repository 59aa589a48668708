"""Advice as jobs: posted for a stored model, and the jobs that make an artifact told from it."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Job
from app.errors import Problem
from app.jobs import commands
from app.storage import Storage
from app.uploads.submission import Submission
from convpress.options import ADVICE


def advise(session: Session, storage: Storage, sha256: str) -> Job:
    """Add an advice on a model, with the options of the owner's latest job for it.

    Raises:
        Problem: `model_not_found`, `model_gone`, `samples_gone`.
    """
    model = commands.get_model(session, sha256)
    query = select(Job).where(Job.model_sha256 == model.sha256)
    latest = session.scalar(query.order_by(Job.created_at.desc()).limit(1))
    # an administrator also sees models whose jobs are deleted
    if latest is None:
        raise commands.model_not_found(sha256)
    submission = Submission(
        sha256=model.sha256,
        filename=latest.filename,
        options=latest.options.for_advice(),
    )
    return commands.create(session, storage, submission)[0]


def get_compressed(session: Session, job_id: str) -> Job:
    """Return a job that has succeeded with an artifact.

    Raises:
        Problem: `job_not_found`, `job_unfinished`, `job_failed`, or `artifact_missing` for an
            advice.
    """
    job = commands.get_succeeded(session, job_id)
    if job.kind == ADVICE:
        raise Problem(
            "artifact_missing",
            f"the job gives an advice, which GET /jobs/{job.id}/report returns",
            expected="a job that compresses",
            got=job.kind,
        )
    return job
