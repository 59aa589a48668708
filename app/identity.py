"""The owner whose request is served: new jobs belong to that owner, and queries see only theirs."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

EVERYONE = ""
"""The owner of jobs that were posted without a key."""

current_owner: ContextVar[str | None] = ContextVar("current_owner", default=None)
"""The owner whose jobs queries see; None for all jobs.

The worker, an administrator and a service without keys see all jobs.
"""

posting_owner: ContextVar[str] = ContextVar("posting_owner", default=EVERYONE)
"""The owner of new jobs."""


@contextmanager
def acting_for(owner: str, *, sees_all: bool) -> Iterator[None]:
    """Let new jobs belong to `owner` until the block ends, and queries see only theirs, or all."""
    seen = current_owner.set(None if sees_all else owner)
    posted = posting_owner.set(owner)
    # Reset, because a server may serve the next request of a connection in the same context.
    try:
        yield
    finally:
        posting_owner.reset(posted)
        current_owner.reset(seen)


@contextmanager
def all_owners() -> Iterator[None]:
    """Let queries see the jobs of all owners until the block ends.

    Retention needs it: a file that one owner deletes may still be another's.
    """
    token = current_owner.set(None)
    try:
        yield
    finally:
        current_owner.reset(token)
