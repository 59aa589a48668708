"""Whose request is being served: new jobs belong to that owner, and no query finds the jobs of another."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

EVERYONE = ""
"""The owner of jobs that were posted without a key."""

current_owner: ContextVar[str | None] = ContextVar("current_owner", default=None)
"""None: all jobs are to be seen, as the worker, an administrator and a service without keys see them."""

posting_owner: ContextVar[str] = ContextVar("posting_owner", default=EVERYONE)
"""To whom a new job belongs."""


@contextmanager
def all_owners() -> Iterator[None]:
    """Let queries find the jobs of all owners until the block ends: what one deletes, another may need."""
    token = current_owner.set(None)
    try:
        yield
    finally:
        current_owner.reset(token)


def confine(session: type[Session]) -> None:
    """Let every ORM query of these sessions find the current owner's jobs alone."""
    event.listen(session, "do_orm_execute", _confine_query)


def _confine_query(state: ORMExecuteState) -> None:
    from app.models import Job

    owner = current_owner.get()
    if owner is not None and not state.is_insert:
        state.statement = state.statement.options(with_loader_criteria(Job, Job.owner == owner, include_aliases=True))
