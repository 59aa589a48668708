"""Counters that survive the jobs they count: sums in rows that only grow.

A transaction adds to them after it has changed its one job, and in the order of their names. Since
all transactions take the row locks in that order, none of them can deadlock.
"""

import bisect
from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Counter
from app.db.upsert import insert
from convpress.budgets import FLOPS_PER_MAC
from convpress.states import State

FORGOTTEN = "forgotten"
FLOPS_SAVED = "flops_saved"
PHASE = "phase"
REQUEST = "request"
LOOP_FAILURE = "loop_failure"

# The room for a label in the table.
_LONGEST_LABEL = 64

BUCKETS = (
    0.1,
    0.5,
    1.0,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    600.0,
    1800.0,
    3600.0,
    float("inf"),
)
"""Upper bounds of a phase's seconds."""
REQUEST_BUCKETS = (0.005, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0, float("inf"))
"""Upper bounds of a request's seconds."""

Amounts = Mapping[tuple[str, str], float]
"""Amounts by name and label. A histogram's label ends in the bucket's bound, or in `sum`."""


def bucket_of(seconds: float, bounds: Sequence[float]) -> float:
    """Return the least bound that is not below `seconds`.

    >>> bucket_of(0.3, REQUEST_BUCKETS)
    1.0
    """
    return bounds[bisect.bisect_left(bounds, seconds)]


def of_success(macs_saved: int, seconds: Mapping[str, float]) -> Amounts:
    """Return the amounts that a job adds when it succeeds, with the seconds of each phase.

    >>> of_success(10, {"loading": 0.3})
    {('flops_saved', ''): 20, ('phase', 'loading 0.5'): 1, ('phase', 'loading sum'): 0.3}
    """
    amounts: dict[tuple[str, str], float] = {
        (FLOPS_SAVED, ""): FLOPS_PER_MAC * macs_saved
    }
    for phase, duration in seconds.items():
        bucket = bucket_of(duration, BUCKETS)
        amounts[PHASE, f"{phase} {bucket:g}"] = 1
        amounts[PHASE, f"{phase} sum"] = duration
    return amounts


def of_forgotten(state: State, code: str) -> Amounts:
    """Return the amount that a job adds when it is deleted, and its events with it."""
    label = f"{state} {code}".rstrip()
    return {(FORGOTTEN, label): 1}


def of_failure(loop: str, error: str) -> tuple[str, str]:
    """Return the name and label of the count of a loop's failures, by the kind of error.

    >>> of_failure("sweeper", "OutOfMemoryError")
    ('loop_failure', 'sweeper OutOfMemoryError')
    """
    return LOOP_FAILURE, f"{loop} {error}"[:_LONGEST_LABEL]


def add(session: Session, amounts: Amounts) -> None:
    """Add the amounts; their rows stay locked until the transaction ends."""
    for (name, label), amount in sorted(amounts.items()):
        row = insert(session, Counter).values(name=name, label=label, value=amount)
        sums = {"value": Counter.value + row.excluded.value}
        session.execute(
            row.on_conflict_do_update(index_elements=["name", "label"], set_=sums)
        )


def read(session: Session) -> Amounts:
    """Return all sums."""
    return {
        (row.name, row.label): row.value for row in session.scalars(select(Counter))
    }
