"""POST /advice: a job that makes no artifact, of an uploaded or a stored model."""

import pytest
from support.service import fake_engine
from support.service.callers import (
    FORM,
    ONNX,
    SHA256,
)
from support.service.ended_jobs import give_advice

STORED = {"model_sha256": (None, SHA256)}
FILES = {"files": {"model": ("net.onnx", ONNX)}}


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
