"""The states of a job."""

from typing import Literal, get_args

State = Literal[
    "queued",  # accepted, held by nobody
    "running",  # held by a worker under a lease
    "succeeded",  # the artifact is stored
    "failed",  # ended with a problem
    "cancelled",  # stopped by its owner
]
STATES: tuple[State, ...] = get_args(State)
TERMINAL: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})
"""States that never change."""
