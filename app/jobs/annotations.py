"""Labels and notes of a job, which can be changed at any time."""

from collections.abc import Callable, Mapping

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from app.db.models import Job, JobLabel
from app.db.upsert import insert
from app.errors import Problem
from app.jobs import commands
from convpress.labels import check_labels
from convpress.schemas import LONGEST_NOTE

_KEPT_CONTROLS = "\n\t"


def annotate(
    session: Session,
    job_id: str,
    *,
    labels: Mapping[str, str] | None,
    note: str | None,
    is_expected: Callable[[Job], bool] = lambda _: True,
) -> Job:
    """Replace the labels and the note of a job; None leaves them, an empty note removes it.

    The job's row is locked before `is_expected` is asked, so that of two simultaneous changes that
    expect the same job one alone takes place.

    Raises:
        Problem: `job_not_found`; `job_changed` where the job is not the expected one;
            `note_invalid`.
        Refusal: `labels_invalid`.
    """
    checked = None if labels is None else check_labels(labels)
    if note is not None:
        # forms send CR and LF
        note = note.replace("\r\n", "\n")
        _check_note(note)
    job = commands.get(session, job_id)
    # a write of the row itself: SQLite has no SELECT FOR UPDATE
    touched = update(Job).where(Job.id == job.id).values(note=Job.note)
    session.execute(touched.execution_options(synchronize_session=False))
    session.refresh(job)
    if not is_expected(job):
        raise Problem(
            "job_changed",
            "the job has changed since the tag in If-Match",
            field="If-Match",
            expected="the ETag of GET /jobs/{id} as it is now; read the job and try again",
        )
    if checked is not None:
        job.labels = checked
        _replace_rows(session, job)
    if note is not None:
        job.note = note.strip() or None
    session.flush()
    return job


def _check_note(note: str) -> None:
    if len(note) > LONGEST_NOTE:
        raise Problem(
            "note_invalid",
            "the note is too long",
            field="note",
            expected=f"at most {LONGEST_NOTE} characters",
            got=f"{len(note)} characters",
        )
    if any(not char.isprintable() and char not in _KEPT_CONTROLS for char in note):
        raise Problem(
            "note_invalid",
            "the note has control characters",
            field="note",
            expected="text, with line breaks where they help",
        )


def _replace_rows(session: Session, job: Job) -> None:
    """Bring the index of labels up to date."""
    session.execute(delete(JobLabel).where(JobLabel.job_id == job.id))
    rows = [
        {"job_id": job.id, "name": name, "value": value, "created_at": job.created_at}
        for name, value in job.labels.items()
    ]
    if rows:
        session.execute(insert(session, JobLabel), rows)
