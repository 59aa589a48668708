"""A state changes with its event and, at the end of a job with a webhook, a delivery."""

from sqlalchemy import select
from support.service.posting import post

from app.db.models import Delivery, Event, Job
from app.db.session import now
from app.jobs.transitions import change


def events(session, job):
    rows = select(Event.state, Event.detail).where(Event.job_id == job.id)
    return [tuple(row) for row in session.execute(rows.order_by(Event.id))]


def deliveries(session):
    return list(session.scalars(select(Delivery.job_id)))


def test_only_jobs_that_meet_the_conditions_change(session):
    job, other = post(session), post(session)
    session.flush()
    changed = change(
        session, now(session), "running", "claimed", Job.id == job.id, attempt=1
    )
    assert [each.id for each in changed] == [job.id]
    assert changed[0].attempt == 1
    session.expire_all()
    assert (job.state, other.state) == ("running", "queued")
    assert events(session, job)[-1] == ("running", "claimed")
    assert ("running", "claimed") not in events(session, other)


def test_a_change_of_no_job_leaves_no_event(session):
    job = post(session)
    session.flush()
    before = events(session, job)
    moment = now(session)
    assert not change(session, moment, "failed", "", Job.state == "running")
    assert events(session, job) == before


def test_the_end_of_a_job_frees_it_and_leaves_a_delivery_where_somebody_asked(session):
    asked, silent = post(session), post(session)
    asked.webhook_url = "https://example.com/hook"
    for job in (asked, silent):
        job.lease_owner = "host:1:abc"
    session.flush()
    ids = [asked.id, silent.id]
    change(session, now(session), "running", "claimed", Job.id.in_(ids))
    assert deliveries(session) == []
    change(session, now(session), "succeeded", "done", Job.id.in_(ids))
    session.expire_all()
    for job in (asked, silent):
        assert job.lease_owner is None
        assert job.finished_at is not None
    assert set(deliveries(session)) == {asked.id}


def test_a_detail_is_cut_to_the_column(session):
    job = post(session)
    session.flush()
    change(session, now(session), "failed", "x" * 1000, Job.id == job.id)
    assert events(session, job)[-1] == ("failed", "x" * 255)
