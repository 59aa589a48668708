"""The owner whose request is being served: new jobs belong to that owner, and queries find no others' jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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
