"""No owner learns from a model that another owner has uploaded the same bytes."""

from datetime import timedelta

import pytest
from support.service.callers import SHA256, bearing, post, token

from app.db.models import Job, OwnedModel
from app.db.session import transaction
from app.jobs import commands, owned_models

INSPECTION = {
    "format": "onnx",
    "inputs": [],
    "outputs": [],
    "parameters": 9,
    "bytes": 50,
    "macs": 9,
    "sites": [],
    "uncounted": {},
    "missing": None,
}


@pytest.fixture
def model_of(guarded):
    """Return the JSON of the model as an owner gets it."""
    client = guarded()

    def get(key):
        answer = client.get(f"/models/{SHA256}", headers=bearing(key))
        return answer.json()

    get.client = client
    return get


def job_of(client, key, *, days_ago=0):
    """Post a job some days ago, as its model and the service remember it."""
    job_id = post(client, key).json()["id"]
    with transaction() as session:
        job = commands.get(session, job_id)
        job.created_at -= timedelta(days=days_ago)
        job.model.created_at = min(job.model.created_at, job.created_at)
    return job_id


def inspect(job_id, **members):
    with transaction() as session:
        job = session.get_one(Job, commands.get(session, job_id).id)
        owned_models.set_inspection(session, job, INSPECTION | members)


def test_a_model_is_as_old_as_the_owners_own_jobs(model_of):
    ann, bob = token("ann"), token("bob")
    job_of(model_of.client, ann, days_ago=9)
    alone = model_of(ann)
    job_of(model_of.client, bob, days_ago=3)
    assert model_of(ann) == alone
    assert model_of(bob)["created_at"] > alone["created_at"]
    assert model_of(bob)["created_at"] == model_of(bob)["used_at"]
    assert model_of(token("root", "admin"))["created_at"] == alone["created_at"]


def test_an_inspection_is_that_of_the_owners_own_jobs(model_of):
    ann, bob = token("ann"), token("bob")
    first, second = job_of(model_of.client, ann), job_of(model_of.client, bob)
    inspect(first, macs=1)
    assert model_of(bob)["inspection"] is None
    inspect(second, macs=2)
    assert model_of(ann)["inspection"]["macs"] == 1
    assert model_of(bob)["inspection"]["macs"] == 2
    assert model_of(token("root", "admin"))["inspection"]["macs"] == 2


def test_what_is_known_of_a_model_goes_with_it(model_of):
    job_id = job_of(model_of.client, token("ann"))
    inspect(job_id)
    with transaction() as session:
        commands.cancel(session, job_id)
        session.delete(commands.forget(session, job_id).model)
    with transaction() as session:
        assert session.query(OwnedModel).count() == 0
