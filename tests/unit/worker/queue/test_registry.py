"""A worker shows itself while it lives, and those who have ended without a word are dropped."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from app.db.models import Worker
from app.db.session import transaction
from worker.queue import registry
from worker.queue.lease import worker_name


def shown():
    with transaction() as session:
        return {
            worker.name: (worker.slots, worker.started_at, worker.seen_at)
            for worker in session.scalars(select(Worker))
        }


def test_a_worker_is_seen_from_its_start_to_its_end(settings):
    registry.show(1)
    _, started, first = shown()[worker_name()]
    registry.show(2)
    slots, still, later = shown()[worker_name()]
    assert slots == 2
    assert still == started
    assert later > first
    registry.leave()
    assert shown() == {}


def test_the_silent_are_dropped(settings):
    at = datetime.now(UTC)
    with transaction() as session:
        for name, age in (("quiet", 60), ("dead", 3700)):
            session.add(
                Worker(
                    name=name,
                    slots=1,
                    started_at=at,
                    seen_at=at - timedelta(seconds=age),
                )
            )
    registry.show(1)
    assert set(shown()) == {"quiet", worker_name()}
