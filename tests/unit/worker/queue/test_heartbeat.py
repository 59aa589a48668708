"""The heartbeat writes seldom, notices a lost lease, and survives an outage of the database."""

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from app.db.session import get_engine, transaction
from worker.queue import heartbeat as heartbeats
from worker.queue import lease as leases
from worker.queue.heartbeat import Heartbeat
from worker.sandbox.messages import Progress


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lease(make_job):
    with transaction() as session:
        return leases.claim(session, make_job(), "me", 30)


@pytest.fixture
def writes(settings):
    """The UPDATEs that reach the database."""
    seen = []
    engine = get_engine(settings.sql_url)

    def note(connection, cursor, statement, *rest):
        if statement.startswith("UPDATE"):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def test_any_other_error_costs_no_more_than_one_beat(lease, clock, monkeypatch):
    heart = Heartbeat(lease, 30, clock)
    clock.now += 1
    with monkeypatch.context() as broken:

        def fail(*_):
            raise RuntimeError("of a library")

        broken.setattr(leases, "renew", fail)
        assert heart.beat()
    clock.now += 1
    assert heart.beat()
    assert heart._renewed == clock.now


@pytest.mark.parametrize(("seconds", "due"), [(30, 1), (0.6, 0.2)])
def test_it_asks_every_second_or_a_third_into_the_lease_and_not_before(
    lease, clock, writes, seconds, due
):
    heart = Heartbeat(lease, seconds, clock)
    writes.clear()
    clock.now += 0.9 * due
    assert heart.beat()
    assert not writes
    clock.now += 0.2 * due
    assert heart.beat()
    assert len(writes) == 1
    assert heart.beat()
    assert len(writes) == 1


def test_progress_is_written_a_few_times_a_second_and_the_last_is_not_forgotten(
    lease, clock, writes, load_job
):
    heart = Heartbeat(lease, 30, clock)
    writes.clear()
    for step in range(100):
        clock.now += 0.01
        heart.report(Progress("measuring", step / 100))
        heart.beat()
    assert 2 <= len(writes) <= 4
    clock.now += 1
    heart.beat()
    job = load_job(lease.job_id)
    assert job.phase == "measuring"
    assert job.progress == 0.99


def test_the_time_left_is_written_with_the_progress(lease, clock, load_job):
    heart = Heartbeat(lease, 30, clock)
    heart.report(Progress("measuring", 0.0))
    clock.now += 10
    heart.report(Progress("measuring", 0.25))
    heart.beat()
    assert load_job(lease.job_id).eta_seconds == pytest.approx(30)


def test_the_time_left_is_written_again_without_news_only_where_it_is_off(
    lease, clock, load_job, writes
):
    heart = Heartbeat(lease, 30, clock)
    heart.report(Progress("measuring", 0.0))
    clock.now += 20
    heart.report(Progress("measuring", 0.25))
    heart.beat()
    clock.now += 2  # 66 s are left now, and 60 are written
    heart.beat()
    assert load_job(lease.job_id).eta_seconds == pytest.approx(60)
    clock.now += 8
    heart.beat()
    job = load_job(lease.job_id)
    assert job.eta_seconds == pytest.approx(90)
    assert (job.phase, job.progress) == ("measuring", 0.25)


def test_a_job_that_goes_back_has_no_time_left(lease, clock, load_job):
    heart = Heartbeat(lease, 30, clock)
    heart.report(Progress("measuring", 0.0))
    clock.now += 20
    heart.report(Progress("measuring", 0.25))
    heart.beat()
    with transaction() as session:
        leases.give_back(session, lease, "a test", blameless=False)
    assert load_job(lease.job_id).eta_seconds is None


def test_a_lost_lease_is_noticed_and_stays_lost(lease, clock):
    heart = Heartbeat(lease, 30, clock)
    with transaction() as session:
        leases.give_back(session, lease, "a test", blameless=False)
    clock.now += 11
    assert not heart.beat()
    with transaction() as session:
        leases.claim(session, lease.job_id, "me", 30)
    clock.now += 11
    assert not heart.beat()
    assert not heart.held


def test_a_database_that_is_away_costs_the_lease_only_when_it_has_run_out(
    lease, clock, monkeypatch
):
    heart = Heartbeat(lease, 30, clock)

    def away():
        raise OperationalError("UPDATE", {}, ConnectionError("away"))

    with monkeypatch.context() as patch:
        patch.setattr(heartbeats, "transaction", away)
        clock.now += 20
        assert heart.beat()
    clock.now += 11
    assert heart.beat()  # it is back
    monkeypatch.setattr(heartbeats, "transaction", away)
    clock.now += 29
    assert heart.beat()
    clock.now += 11
    assert not heart.beat()


def test_it_knows_how_long_each_phase_took(lease, clock):
    heart = Heartbeat(lease, 30, clock)
    assert heart.laps() == {}
    for phase, seconds in (
        ("loading", 2),
        ("loading", 3),
        ("factoring", 7),
        ("loading", 1),
    ):
        heart.report(Progress(phase, 0.1))
        clock.now += seconds
    assert {phase: lap.seconds for phase, lap in heart.laps().items()} == {
        "loading": 6,
        "factoring": 7,
    }
    assert heart.laps()["factoring"].began == heart.laps()["loading"].began + 5
