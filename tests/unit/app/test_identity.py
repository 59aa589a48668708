"""Whose request it is: the worker, which serves none, sees all jobs."""

from sqlalchemy import select
from support.service.callers import post, token

from app import identity
from app.db.models import Job
from app.db.session import transaction


def test_the_worker_sees_all_jobs(guarded):
    client = guarded()
    post(client, token("ann")), post(client, token("bob"))
    assert identity.current_owner.get() is None
    with transaction() as session:
        assert sorted(job.owner for job in session.scalars(select(Job))) == [
            "ann",
            "bob",
        ]
