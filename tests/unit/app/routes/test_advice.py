"""POST /advice: a job that makes no artifact, of an uploaded or a stored model."""

import json
from functools import partial

import pytest
from support.service import fake_engine
from support.service.callers import (
    FORM,
    HTML,
    ONNX,
    OWN,
    SHA256,
    bearing,
    cookie,
    post,
    token,
)

from app.db.session import transaction
from app.jobs import commands
from app.storage import artifact_key, get_storage
from worker.jobs import results

STORED = {"model_sha256": (None, SHA256)}
FILES = {"files": {"model": ("net.onnx", ONNX)}}


def give_advice(job_id, advice=fake_engine.ADVICE):
    """End a job as a worker would that has given this advice."""
    with transaction() as session:
        job = commands.get(session, job_id)
        job.state, job.started_at, job.finished_at = (
            "succeeded",
            job.created_at,
            job.created_at,
        )
        job.advice = {"choice": advice["choice"], "text": advice["text"]}
        content = json.dumps(advice).encode()
        key_of = partial(artifact_key, job.id)
        job.report_sha256, _ = results.keep(get_storage(), iter([content]), key_of)


def test_an_advice_is_a_job_whose_report_is_the_advice(client):
    posted = client.post("/advice", **FILES)
    job = posted.json()
    assert (posted.status_code, posted.headers["Location"]) == (
        202,
        f"/jobs/{job['id']}",
    )
    assert (job["kind"], job["flops_budget"], job["advice"]) == ("advice", None, None)
    give_advice(job["id"])
    ended = client.get(posted.headers["Location"]).json()
    assert ended["result"] is None
    assert ended["advice"]["choice"] == "int8 alone"
    assert client.get(f"/jobs/{job['id']}/report").json() == fake_engine.ADVICE
    for part in ("artifact", "frontier"):
        refused = client.get(f"/jobs/{job['id']}/{part}")
        assert (refused.status_code, refused.json()["code"]) == (
            409,
            "artifact_missing",
        )
        assert f"/jobs/{job['id']}/report" in refused.json()["detail"]


def test_an_advice_names_a_stored_model_and_is_listed_by_its_kind(client):
    compressing = client.post("/jobs", **FORM).json()
    advising = client.post("/advice", files={**STORED, "labels": (None, "run=7")})
    assert advising.json()["model"]["sha256"] == SHA256
    for kind, job in (("compression", compressing), ("advice", advising.json())):
        listed = client.get(f"/jobs?kind={kind}").json()["jobs"]
        assert [each["id"] for each in listed] == [job["id"]]
        assert job["kind"] == kind
    assert client.get("/jobs?kind=other").status_code == 422


@pytest.mark.parametrize(
    "field", ["flops_budget", "max_loss", "precision", "evaluation_metric", "kind"]
)
def test_an_advice_tries_budgets_of_its_own(client, field):
    refused = client.post("/advice", data={field: "0.5"}, **FILES)
    assert (refused.status_code, refused.json()["code"]) == (422, "field_unknown")
    assert refused.json()["field"] == field


def test_a_key_of_a_job_is_not_one_of_an_advice(client):
    headers = {"Idempotency-Key": "once"}
    first = client.post("/advice", **FILES, headers=headers)
    again = client.post("/advice", **FILES, headers=headers)
    assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (
        first.json()["id"],
        "true",
    )
    other = client.post("/jobs", data={"precision": "int8"}, **FILES, headers=headers)
    assert other.json()["code"] == "idempotency_key_reused"


def test_the_page_of_a_model_asks_for_an_advice_and_shows_it(client):
    client.post("/jobs", data={"flops_budget": "0.5", "input_range": "0,255"}, **FILES)
    path = f"/dashboard/models/{SHA256}"
    assert "Ask for advice" in client.get(path, headers=HTML).text
    asked = client.post(f"{path}/advice", headers=HTML | OWN, follow_redirects=False)
    assert (asked.status_code, asked.headers["location"]) == (303, f"{path}#advice")
    [job] = client.get("/jobs?kind=advice").json()["jobs"]
    assert (job["input_range"], job["flops_budget"]) == ("0,255", None)
    waiting = client.get(path, headers=HTML).text
    assert f'data-follow="/jobs/{job["id"]}/events"' in waiting
    assert "Ask " not in waiting
    give_advice(job["id"])
    for page in (path, f"/dashboard/jobs/{job['id']}"):
        shown = client.get(page, headers=HTML).text
        assert fake_engine.ADVICE["text"] in shown
        assert '<tr class="chosen"><th scope="row">int8 alone</th>' in shown
        assert "0.20 %" in shown
        assert "no factorisation reaches the budget" in shown
        assert f"/jobs/{job['id']}/artifact" not in shown
    assert "Ask again" in client.get(path, headers=HTML).text
    assert "client.advise('net.onnx'" in client.get(
        f"/dashboard/jobs/{job['id']}", headers=HTML
    ).text.replace("&#39;", "'")


def test_an_owner_asks_and_sees_for_own_models_alone(guarded):
    client = guarded(owner_unfinished_jobs="2")
    ann, bob = token("ann"), token("bob")
    post(client, ann)
    path = f"/dashboard/models/{SHA256}/advice"
    stranger = client.post(path, headers=cookie(bob) | OWN, follow_redirects=False)
    assert stranger.status_code == 404
    refused = client.post("/advice", files=STORED, headers=bearing(bob))
    assert refused.json()["code"] == "model_not_found"
    assert (
        client.post(path, headers=cookie(ann) | OWN, follow_redirects=False).status_code
        == 303
    )
    full = client.post(path, headers=cookie(ann) | OWN, follow_redirects=False)
    assert full.status_code == 429
