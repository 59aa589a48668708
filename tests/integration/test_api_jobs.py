"""Jobs over HTTP: posted, followed, listed, and their files downloaded whole or in part."""

import hashlib
import uuid

import pytest
from sqlalchemy import create_engine, select

from app.db.models import Model

ARTIFACT = bytes(range(256)) * 40
FIELDS = {
    "id",
    "state",
    "phase",
    "progress",
    "eta_seconds",
    "eta_reason",
    "created_at",
    "started_at",
    "finished_at",
    "model",
    "flops_budget",
    "params_budget",
    "bytes_budget",
    "latency_budget",
    "kind",
    "advice",
    "target",
    "threads",
    "max_loss",
    "flops_at_any_price",
    "allow_incomplete_account",
    "precision",
    "input_shape",
    "calibration",
    "samples_sha256",
    "evaluation_sha256",
    "evaluation_metric",
    "evaluation_output",
    "input_range",
    "input_mean",
    "input_std",
    "labels",
    "note",
    "result",
    "error",
    "expired_at",
}


def test_a_job_is_accepted_and_found_again(api):
    response = api.post(
        flops_budget=" 47% ", input_shape="1x3x8x8", filename="a/../né t.onnx"
    )
    assert response.status_code == 202
    job = response.json()
    assert job.keys() == FIELDS
    assert response.headers["location"] == f"/jobs/{job['id']}"
    assert job["state"] == "queued"
    assert job["progress"] == 0
    assert job["flops_budget"] == "47%"
    assert job["input_shape"] == "1x3x8x8"
    assert job["model"]["filename"] == "né t.onnx"
    assert job["model"]["format"] == "onnx"
    assert job["created_at"].endswith("Z")
    assert api.http.get(f"/jobs/{job['id']}").json() == job


def test_the_same_model_is_stored_once(api):
    first = api.post().json()
    second = api.post(filename="other.onnx").json()
    assert first["model"]["sha256"] == second["model"]["sha256"]
    assert first["id"] != second["id"]
    key = f"models/{first['model']['sha256']}"
    assert key in api.stored()
    engine = create_engine(api.sql_url)
    with engine.connect() as connection:
        assert (
            len(
                connection.execute(
                    select(Model).where(Model.sha256 == first["model"]["sha256"])
                ).all()
            )
            == 1
        )
    engine.dispose()


def test_a_job_that_has_not_changed_is_not_sent_again(api):
    job = api.post().json()
    path = f"/jobs/{job['id']}"
    response = api.http.get(path)
    assert response.headers["retry-after"] == "1"
    tag = response.headers["etag"]
    assert api.http.get(path, headers={"If-None-Match": tag}).status_code == 304
    api.change(job["id"], state="running", phase="factoring", progress=0.3)
    changed = api.http.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.json()["phase"] == "factoring"
    assert changed.json()["progress"] == 0.3


def test_an_unfinished_job_has_no_files(api):
    job = api.post().json()
    for part in ("artifact", "report"):
        response = api.http.get(f"/jobs/{job['id']}/{part}")
        assert response.status_code == 409
        assert response.json()["code"] == "job_unfinished"


def test_a_failed_job_says_why_and_has_no_files(api):
    job = api.post().json()
    error = {
        "code": "budget_unreachable",
        "detail": "too little",
        "field": "flops_budget",
        "expected": "0.2",
        "got": "0.1",
    }
    api.change(job["id"], state="failed", error=error)
    detail = api.http.get(f"/jobs/{job['id']}").json()["error"]
    assert (
        detail.items()
        >= (error | {"status": 422, "instance": f"/jobs/{job['id']}"}).items()
    )
    response = api.http.get(f"/jobs/{job['id']}/artifact")
    assert response.status_code == 409
    assert response.json()["code"] == "job_failed"
    assert "too little" in response.json()["detail"]


@pytest.fixture
def finished(api):
    job = api.post(filename="my net;é.onnx").json()
    sha256 = api.succeed(job["id"], ARTIFACT, b'{"keep": 0.47}')
    return f"/jobs/{job['id']}", sha256


def test_the_artifact_is_what_the_job_says(api, finished):
    path, sha256 = finished
    job = api.http.get(path).json()
    assert job["result"]["artifact"] == {
        "sha256": sha256,
        "bytes": len(ARTIFACT),
        "href": f"{path}/artifact",
        "damaged_at": None,
    }
    assert job["result"]["keep"] == 0.47
    response = api.http.get(job["result"]["artifact"]["href"])
    assert hashlib.sha256(response.content).hexdigest() == sha256
    assert response.headers["etag"] == f'"{sha256}"'
    assert "my%20net%3B%C3%A9.convpress.onnx" in response.headers["content-disposition"]
    assert api.http.get(f"{path}/report").json() == {"keep": 0.47}


def test_a_part_of_the_artifact_can_be_had_and_the_rest_later(api, finished):
    path, sha256 = finished
    part = api.http.get(f"{path}/artifact", headers={"Range": "bytes=100-199"})
    assert part.status_code == 206
    assert part.content == ARTIFACT[100:200]
    rest = api.http.get(
        f"{path}/artifact", headers={"Range": "bytes=200-", "If-Range": f'"{sha256}"'}
    )
    assert rest.status_code == 206
    assert rest.content == ARTIFACT[200:]
    other = api.http.get(
        f"{path}/artifact", headers={"Range": "bytes=200-", "If-Range": '"another"'}
    )
    assert other.status_code == 200
    assert other.content == ARTIFACT
    beyond = api.http.get(f"{path}/artifact", headers={"Range": "bytes=99999-"})
    assert beyond.status_code == 416
    assert beyond.json()["code"] == "range_not_satisfiable"


def test_a_client_that_has_the_artifact_is_told_so(api, finished):
    path, sha256 = finished
    response = api.http.get(
        f"{path}/artifact", headers={"If-None-Match": f'"{sha256}"'}
    )
    assert response.status_code == 304
    assert response.content == b""


def test_a_file_that_the_store_has_lost_is_gone(api, finished):
    path, sha256 = finished
    (api.data_dir / "storage" / "artifacts" / path.split("/")[-1] / sha256).unlink()
    assert api.http.get(f"{path}/artifact").json()["code"] == "file_gone"


def test_pages_hold_every_job_once_newest_first(api):
    job_ids = [api.post().json()["id"] for _ in range(5)]
    seen = []
    cursor = None
    while True:
        page = api.http.get(
            "/jobs", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
        ).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen[:5] == job_ids[::-1]
    assert len(seen) == len(set(seen))


def test_every_answer_names_its_request(api):
    assert (
        api.http.get("/healthz", headers={"X-Request-ID": "mine-7"}).headers[
            "x-request-id"
        ]
        == "mine-7"
    )
    assert uuid.UUID(
        api.http.get("/healthz", headers={"X-Request-ID": "a b\tc"}).headers[
            "x-request-id"
        ]
    )


def test_readiness_says_what_is_missing(api, start_api):
    parts = ("database", "storage", "broker", "data_folder", "sweeper")
    assert api.http.get("/readyz").json() == dict.fromkeys(parts, "ok")
    with start_api(broker_url="redis://127.0.0.1:1/0") as running:
        response = running.http.get("/readyz")
        assert response.status_code == 503
        assert response.json()["field"] == "broker"
        assert running.post().status_code == 202


def test_the_examples_of_the_description_work_as_they_stand(api):
    paths = api.http.get("/openapi.json").json()["paths"]
    form = paths["/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"][
        "schema"
    ]
    example = {
        name: part["example"]
        for name, part in form["properties"].items()
        if "example" in part
    }
    assert api.post(**example).status_code == 202
    assert api.http.get("/docs").status_code == 200
    assert {field for choice in form["anyOf"] for field in choice["required"]} == {
        "flops_budget", "params_budget", "bytes_budget", "latency_budget", "max_loss",
        "precision",
    }  # fmt: skip


def test_the_same_on_postgresql(postgres_api):
    job = postgres_api.post().json()
    assert postgres_api.http.get("/readyz").status_code == 200
    sha256 = postgres_api.succeed(job["id"], ARTIFACT)
    assert (
        postgres_api.http.get(f"/jobs/{job['id']}").json()["result"]["artifact"][
            "sha256"
        ]
        == sha256
    )
    postgres_api.post()
    page = postgres_api.http.get("/jobs", params={"limit": 1}).json()
    rest = postgres_api.http.get("/jobs", params={"cursor": page["next_cursor"]}).json()
    assert rest["jobs"][0]["id"] == job["id"]
