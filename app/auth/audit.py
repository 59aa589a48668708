"""The audit trail: a line in the log for each use of a key that may do everything."""

import logging

import structlog

from app.auth.keys import Caller

# CONVPRESS_LOG_LEVEL sets the level of all other logs; the trail has no gaps.
logging.getLogger(__name__).setLevel(logging.INFO)

log = structlog.get_logger(__name__)


def record(caller: Caller, method: str, path: str, address: str | None) -> None:
    """Log a request before it is served, if its key is an admin's.

    The line has the request's id, under which the log has the outcome.
    """
    if caller.is_admin:
        log.info(
            "admin key used",
            key=caller.key_id,
            owner=caller.owner,
            method=method,
            path=path,
            address=address,
        )
