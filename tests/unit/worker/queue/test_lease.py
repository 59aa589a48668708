"""A lease is taken by one, kept by that one, and lost for good."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from app.db.session import transaction
from app.stats import counters
from worker.queue import lease as leases
from worker.queue.lease import Lease, Result

RESULT = Result(
    macs_before=10,
    macs_after=5,
    unaccounted=[],
    measured_error=0.1,
    risk_level="low",
    artifact_sha256="a" * 64,
    artifact_bytes=3,
    report_sha256="b" * 64,
)

CHANGES = {
    "renew": lambda session, lease: leases.renew(
        session, lease, 3600, "factoring", 0.4
    ),
    "succeed": lambda session, lease: leases.succeed(
        session, lease, RESULT, {"loading": 0.3}
    ),
    "fail": lambda session, lease: leases.fail(
        session, lease, {"code": "model_invalid", "detail": "no"}
    ),
    "give back": lambda session, lease: leases.give_back(
        session, lease, "a test", blameless=False
    ),
}


def claim(job_id, owner="me", seconds=3600):
    with transaction() as session:
        return leases.claim(session, job_id, owner, seconds)


def change(name, lease):
    with transaction() as session:
        return CHANGES[name](session, lease)


def test_a_claim_starts_the_job_and_counts_the_attempt(make_job, load_job):
    job_id = make_job()
    lease = claim(job_id)
    assert lease == Lease(job_id, "me", 1)
    job = load_job(job_id)
    assert job.state == "running"
    assert job.phase == "loading"
    assert job.attempt == 1
    assert job.lease_owner == "me"
    assert job.started_at <= datetime.now(UTC)
    assert (
        timedelta(minutes=50)
        < job.lease_expires_at - datetime.now(UTC)
        <= timedelta(minutes=60)
    )


@pytest.mark.parametrize("state", ["running", "succeeded", "failed", "cancelled"])
def test_only_a_queued_job_can_be_claimed(make_job, load_job, state):
    job_id = make_job(state=state)
    assert claim(job_id) is None
    assert load_job(job_id).state == state


def test_an_unknown_job_cannot_be_claimed(make_job, settings):
    assert claim(uuid.uuid4()) is None


def test_of_many_claims_at_once_one_holds(make_job, load_job):
    jobs = [make_job() for _ in range(5)]
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: claim(jobs[n % 5], owner=str(n)), range(40)))
    assert sorted(lease.job_id for lease in claims if lease) == sorted(jobs)
    assert all(load_job(job_id).attempt == 1 for job_id in jobs)


def test_renewing_tells_the_progress(make_job, load_job):
    lease = claim(make_job(), seconds=1)
    assert change("renew", lease)
    job = load_job(lease.job_id)
    assert job.phase == "factoring"
    assert job.progress == 0.4
    assert job.lease_expires_at > datetime.now(UTC) + timedelta(minutes=50)


def test_renewing_without_news_leaves_the_progress(make_job, load_job):
    lease = claim(make_job())
    change("renew", lease)
    with transaction() as session:
        assert leases.renew(session, lease, 30)
    assert load_job(lease.job_id).progress == 0.4


def test_success_is_committed_with_its_result(make_job, load_job):
    lease = claim(make_job())
    assert change("succeed", lease)
    job = load_job(lease.job_id)
    assert job.state == "succeeded"
    assert job.phase is None
    assert job.progress == 1.0
    assert job.lease_owner is None
    assert job.macs_before == 10
    assert job.macs_after == 5
    assert job.artifact_sha256 == "a" * 64
    assert job.artifact_bytes == 3
    assert job.finished_at >= job.started_at


def test_a_failure_keeps_its_error_and_its_phase(make_job, load_job):
    lease = claim(make_job())
    assert change("fail", lease)
    job = load_job(lease.job_id)
    assert job.state == "failed"
    assert job.phase == "loading"
    assert job.lease_owner is None
    assert job.error == {"code": "model_invalid", "detail": "no"}


@pytest.mark.parametrize(("blameless", "attempt"), [(False, 1), (True, 0)])
def test_a_job_given_back_is_queued_as_if_new(make_job, load_job, blameless, attempt):
    lease = claim(make_job())
    with transaction() as session:
        assert leases.give_back(session, lease, "a test", blameless=blameless)
    job = load_job(lease.job_id)
    assert job.state == "queued"
    assert job.phase is None
    assert job.progress == 0.0
    assert job.started_at is None
    assert job.attempt == attempt
    assert job.lease_owner is None
    assert job.lease_expires_at is None


@pytest.mark.parametrize("name", CHANGES)
def test_another_owner_changes_nothing(make_job, load_job, name):
    lease = claim(make_job())
    assert not change(name, Lease(lease.job_id, "somebody else", 1))
    assert load_job(lease.job_id).lease_owner == "me"


@pytest.mark.parametrize("name", CHANGES)
def test_a_cancelled_job_stays_cancelled(make_job, load_job, name):
    job_id = make_job(state="cancelled", lease_owner="me")
    assert not change(name, Lease(job_id, "me", 1))
    assert load_job(job_id).state == "cancelled"


@pytest.mark.parametrize("name", CHANGES)
def test_the_former_holder_of_a_job_claimed_again_changes_nothing(
    make_job, load_job, name
):
    former = claim(make_job())
    change("give back", former)
    claim(former.job_id, owner="heir")
    assert not change(name, former)
    assert load_job(former.job_id).lease_owner == "heir"


def test_every_change_of_state_leaves_an_event(make_job, events):
    lease = claim(make_job())
    change("renew", lease)
    change("give back", lease)
    change("succeed", claim(lease.job_id, owner="heir"))
    assert [
        (event.state, event.attempt, event.worker, event.detail)
        for event in events(lease.job_id)
    ] == [
        ("running", 1, "me", "claimed by a worker"),
        ("queued", 1, None, "a test"),
        ("running", 2, "heir", "claimed by a worker"),
        ("succeeded", 2, None, "done"),
    ]


def test_a_change_that_takes_no_effect_leaves_no_event(make_job, events):
    lease = claim(make_job())
    assert not change("succeed", Lease(lease.job_id, "somebody else", 1))
    assert [event.state for event in events(lease.job_id)] == ["running"]


def test_every_claim_has_an_owner_of_its_own():
    assert leases.new_owner() != leases.new_owner()
    assert len(leases.new_owner()) <= 255


def test_a_success_is_counted_once(make_job):
    lease = claim(make_job())
    assert change("succeed", lease)
    assert not change("succeed", lease)
    with transaction() as session:
        assert counters.read(session) == {
            ("flops_saved", ""): 2 * (RESULT.macs_before - RESULT.macs_after),
            ("phase", "loading 0.5"): 1,
            ("phase", "loading sum"): 0.3,
        }
