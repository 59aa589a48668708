"""`/readyz` names what does not work, although the process lives."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from support.service.callers import FORM

from app.db.models import Job, Worker
from app.db.session import transaction

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


def unready(client):
    response = client.get("/readyz")
    assert response.status_code == 503
    return response.json()


def test_every_part_is_named_where_all_works(client):
    parts = ("database", "storage", "broker", "data_folder", "sweeper")
    assert client.get("/readyz").json() == dict.fromkeys(parts, "ok")


@pytest.mark.parametrize("empty", [False, True], ids=["deleted", "emptied"])
def test_without_its_data_folder_it_is_not_ready_and_accepts_nothing(
    client, settings, unread_body, empty
):
    client.get("/readyz")
    shutil.rmtree(settings.data_dir)
    if empty:
        settings.data_dir.mkdir()
    problem = unready(client)
    assert "data_folder" in problem["field"].split(", ")
    assert "put it back as it was, or restart the service" in problem["detail"]
    for request in (
        FORM,
        {**unread_body, "headers": {"Content-Type": "multipart/form-data"}},
    ):
        response = client.post("/jobs", **request)
        assert (response.status_code, response.json()["code"]) == (
            503,
            "storage_unavailable",
        )
        assert response.json()["field"] == "data_folder"
    assert settings.data_dir.exists() == empty


def test_a_worker_that_does_not_sweep_any_more_is_told(client):
    client.post("/jobs", **FORM)
    with transaction() as session:
        session.add(
            Worker(name="stuck", slots=1, started_at=LONG_AGO, seen_at=LONG_AGO)
        )
    problem = unready(client)
    assert problem["field"] == "sweeper"
    assert "no worker has returned overdue leases for 60 seconds" in problem["detail"]
    with transaction() as session:
        session.add(
            Worker(
                name="other", slots=1, started_at=LONG_AGO, seen_at=datetime.now(UTC)
            )
        )
    assert client.get("/readyz").status_code == 200


def test_a_lease_that_nobody_returns_is_told(client):
    client.post("/jobs", **FORM)
    with transaction() as session:
        session.execute(
            update(Job).values(
                state="running", lease_owner="dead", lease_expires_at=LONG_AGO
            )
        )
    assert unready(client)["field"] == "sweeper"
