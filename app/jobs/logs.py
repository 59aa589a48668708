"""The log of a job as text: its events, and what its children wrote to standard error."""

import re
import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Event, Job, JobLog
from app.db.upsert import insert

LONGEST_TEXT = 16 * 1024
"""Characters that are kept of one attempt: the last ones."""
_MOST_EVENTS = 200
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def keep(session: Session, job_id: uuid.UUID, attempt: int, text: str) -> None:
    """Keep the end of what the child of an attempt wrote, if it wrote anything."""
    lines = [printable(line) for line in text.splitlines()]
    kept = "\n".join(lines)[-LONGEST_TEXT:]
    if not kept.strip():
        return
    # an attempt that does not count has the number of the next one
    added = insert(session, JobLog).values(job_id=job_id, attempt=attempt, text=kept)
    session.execute(
        added.on_conflict_do_update(
            index_elements=["job_id", "attempt"], set_={"text": kept}
        )
    )


def read(session: Session, job: Job) -> str:
    """Return the last events of a job, a line each, with the lines of each attempt's child.

    A child's lines stand, indented, before the event that ended its attempt.
    """
    newest = select(Event).where(Event.job_id == job.id).order_by(Event.id.desc())
    events = list(session.scalars(newest.limit(_MOST_EVENTS)))[::-1]
    query = select(JobLog).where(JobLog.job_id == job.id)
    texts = {log.attempt: log.text for log in session.scalars(query)}
    lines = []
    running: int | None = None
    for event in events:
        if running is not None:
            lines += _child_lines(running, texts.pop(running, ""))
        running = event.attempt if event.state == "running" else None
        attempt = f", attempt {event.attempt}" if event.state == "running" else ""
        lines.append(
            f"{event.at:%Y-%m-%dT%H:%M:%S.%fZ} {event.state}: {event.detail}{attempt}"
        )
    return "\n".join(lines) + "\n"


def _child_lines(attempt: int, text: str) -> list[str]:
    if not text:
        return []
    return [
        f"  attempt {attempt} wrote:",
        *(f"  | {line}" for line in text.splitlines()),
    ]


def printable(line: str) -> str:
    """Leave colours out, and replace control characters, which could act on a reader's terminal."""
    plain = _COLOUR.sub("", line)
    return "".join(char if char.isprintable() else "?" for char in plain)
