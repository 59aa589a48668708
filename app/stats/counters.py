"""What is counted for good, though jobs be forgotten: sums in rows that only grow.

A transaction adds after it has changed its one job, and in the order of the names, so that none waits in a circle.
"""

import bisect
from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Tally
from app.db.upsert import insert
from convpress.states import State

FORGOTTEN, FLOPS_SAVED, PHASE, REQUEST = "forgotten", "flops_saved", "phase", "request"
BUCKETS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, float("inf"))
"""Bounds of a phase's seconds."""
REQUEST_BUCKETS = (0.005, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0, float("inf"))
"""Bounds of a request's seconds."""

_FLOPS_PER_MAC = 2

Amounts = Mapping[tuple[str, str], float]
"""By name and label."""


def of_success(macs_saved: int, seconds: Mapping[str, float]) -> Amounts:
    """Return what a job adds that has succeeded, with the seconds that each phase took.

    >>> of_success(10, {"loading": 0.3})
    {('flops_saved', ''): 20, ('phase', 'loading 0.5'): 1, ('phase', 'loading sum'): 0.3}
    """
    amounts: dict[tuple[str, str], float] = {(FLOPS_SAVED, ""): _FLOPS_PER_MAC * macs_saved}
    for phase, spent in seconds.items():
        bucket = BUCKETS[bisect.bisect_left(BUCKETS, spent)]
        amounts |= {(PHASE, f"{phase} {bucket:g}"): 1, (PHASE, f"{phase} sum"): spent}
    return amounts


def of_forgotten(state: State, code: str) -> Amounts:
    """Return what a job adds whose events go with it."""
    return {(FORGOTTEN, f"{state} {code}".rstrip()): 1}


def add(session: Session, amounts: Amounts) -> None:
    """Add the amounts, and keep their rows locked until the transaction ends."""
    for (name, label), amount in sorted(amounts.items()):
        row = insert(session, Tally).values(name=name, label=label, value=amount)
        grown = {"value": Tally.value + row.excluded.value}
        session.execute(row.on_conflict_do_update(index_elements=["name", "label"], set_=grown))


def read(session: Session) -> Amounts:
    """Return all sums."""
    return {(tally.name, tally.label): tally.value for tally in session.scalars(select(Tally))}
