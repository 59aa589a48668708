"""Stored models need no second upload, a key makes one job, labels and times find jobs."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from support.service.submissions import (
    ONNX,
    model,
    submit,
)


def test_a_stored_model_needs_no_second_upload(api):
    first = api.post(model(20)).json()
    sha256 = first["model"]["sha256"]
    response = submit(api, model_sha256=sha256, flops_budget="0.3")
    assert response.status_code == 202
    job = response.json()
    assert job["model"]["sha256"] == sha256
    assert job["model"]["format"] == "onnx"
    assert job["flops_budget"] == "0.3"
    assert job["model"]["filename"] == "model"
    stored = api.http.get(f"/models/{sha256}").json()
    assert stored["sha256"] == sha256
    assert stored["format"] == "onnx"
    assert stored["bytes"] == 44
    assert stored["expired_at"] is None
    assert [listed["id"] for listed in api.http.get(stored["jobs"]).json()["jobs"]] == [
        job["id"],
        first["id"],
    ]


def test_a_job_has_the_budgets_that_were_given_and_no_others(api):
    asked = {
        "params_budget": " 60% ",
        "bytes_budget": "2MB",
        "flops_at_any_price": "true",
    }
    job = api.post(model(21), flops_budget="", **asked).json()
    assert job["flops_budget"] is None
    assert job["params_budget"] == "60%"
    assert job["bytes_budget"] == "2MB"
    assert (job["latency_budget"], job["flops_at_any_price"]) == (None, True)
    assert api.http.get(f"/jobs/{job['id']}").json() == job


@pytest.mark.parametrize("sha256", ["f" * 64, "F" * 64, "7", "%00", "x" * 500])
def test_an_unknown_model(api, sha256):
    response = api.http.get(f"/models/{sha256}")
    assert response.status_code == 404
    assert response.json()["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"model_sha256": "f" * 64}, 404, "model_not_found", "model_sha256"),
        ({"model_sha256": "7"}, 422, "sha256_invalid", "model_sha256"),
        ({}, 422, "model_missing", "model"),
        ({"labels": "team"}, 422, "labels_invalid", "labels"),
        ({"labels": "a=1,a=2"}, 422, "labels_invalid", "labels"),
        ({"labels": "-a=1"}, 422, "labels_invalid", "labels"),
        ({"labels": "a=" + "x" * 129}, 422, "labels_invalid", "labels"),
        (
            {"labels": ",".join(f"l{n}=1" for n in range(17))},
            422,
            "labels_invalid",
            "labels",
        ),
        ({"labels": "a=\u202e"}, 422, "labels_invalid", "labels"),
    ],
)
def test_bad_orders(api, fields, status, code, field):
    response = submit(api, **fields)
    assert response.status_code == status
    assert response.json()["code"] == code
    assert response.json()["field"] == field


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"calibration": "real"}, "calibration_invalid", "calibration"),
        ({"input_range": "255"}, "input_range_invalid", "input_range"),
        ({"input_range": "255,0"}, "input_range_invalid", "input_range"),
        ({"input_mean": "a"}, "input_range_invalid", "input_mean"),
        ({"input_std": "0.2,0"}, "input_range_invalid", "input_std"),
        (
            {"input_range": "0,1", "input_mean": "0.5"},
            "input_range_invalid",
            "input_range",
        ),
    ],
)
def test_bad_calibrations_are_refused_before_the_job_is_accepted(
    api, fields, code, field
):
    response = api.post(**fields)
    problem = response.json()
    assert response.status_code == 422
    assert problem["code"] == code
    assert problem["field"] == field
    assert problem["expected"]
    assert problem["got"] == fields[field]
    assert api.left_over() == []


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"input_mean": "0.5"}, "input_std"),
        ({"input_std": "0.5", "input_mean": ""}, "input_mean"),
    ],
)
def test_a_mean_and_a_deviation_come_together(api, fields, missing):
    response = api.post(**fields)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "input_range_invalid")
    assert problem["field"] == missing
    assert all(name in problem["detail"] for name in ("input_mean", "input_std"))
    assert problem["expected"]
    assert api.left_over() == []


def test_a_calibration_stays_with_its_job(api):
    fields = {
        "calibration": "none",
        "input_mean": "0.485,0.456,0.406",
        "input_std": "0.2",
    }
    job = api.post(**fields).json()
    assert {name: job[name] for name in (*fields, "input_range")} == fields | {
        "input_range": None
    }
    assert api.http.get(f"/jobs/{job['id']}").json() == job
    row = api.row(job["id"])
    assert (row.calibration, row.input_mean, row.input_std) == tuple(fields.values())
    plain = api.post(input_range="", calibration="").json()
    assert plain["calibration"] == "synthetic"
    assert plain["input_range"] is None


def test_another_calibration_is_another_order(api):
    headers = {"Idempotency-Key": "calibrated"}
    sha256 = api.post(model(21)).json()["model"]["sha256"]
    assert submit(api, headers, model_sha256=sha256).status_code == 202
    other = submit(api, headers, model_sha256=sha256, input_range="0,255")
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"


def test_a_model_given_in_two_ways(api):
    response = api.post(model_sha256="f" * 64)
    assert response.status_code == 422
    assert response.json()["code"] == "model_ambiguous"
    assert api.left_over() == []


def test_labels_are_kept_and_found(api):
    job = api.post(labels="team=sound, run=42").json()
    assert job["labels"] == {"team": "sound", "run": "42"}
    api.post(labels="team=sound,run=43")

    def found(**filters):
        return [
            each["id"] for each in api.http.get("/jobs", params=filters).json()["jobs"]
        ]

    assert found(label="run=42") == [job["id"]]
    assert found(label=["team=sound", "run=42"]) == [job["id"]]
    assert len(found(label="team=sound")) == 2
    assert found(label=["team=audio", "run=42"]) == []
    assert found(label="run=42", state="failed") == []
    assert found(label="run=42", state=["failed", "queued"]) == [job["id"]]
    created = datetime.fromisoformat(job["created_at"])
    assert job["id"] in found(created_from=created.isoformat(), label="run=42")
    assert found(created_before=created.isoformat(), label="run=42") == []
    assert found(created_from=(created + timedelta(hours=1)).isoformat()) == []


def test_a_key_makes_one_job_however_often_it_is_sent(api):
    headers = {"Idempotency-Key": "submission-7"}
    first = api.http.post(
        "/jobs",
        data={"flops_budget": "0.5"},
        files={"model": ("n.onnx", ONNX)},
        headers=headers,
    )
    again = api.http.post(
        "/jobs",
        data={"flops_budget": "0.5"},
        files={"model": ("n.onnx", ONNX)},
        headers=headers,
    )
    assert first.status_code == 202
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    other = api.http.post(
        "/jobs",
        data={"flops_budget": "0.4"},
        files={"model": ("n.onnx", ONNX)},
        headers=headers,
    )
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize("database", ["api", "postgres_api"])
def test_a_key_sent_many_times_at_once_makes_one_job(request, database):
    api = request.getfixturevalue(database)
    before = api.stored()

    def post(_):
        return api.http.post(
            "/jobs",
            data={"flops_budget": "0.5"},
            files={"model": ("n.onnx", model(3))},
            headers={"Idempotency-Key": "many-times-at-once"},
        )

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(post, range(24)))
    assert {response.status_code for response in responses} == {202}
    assert len({response.json()["id"] for response in responses}) == 1
    assert (
        sum("idempotency-replayed" not in response.headers for response in responses)
        == 1
    )
    sha256 = hashlib.sha256(model(3)).hexdigest()
    assert (
        len(api.http.get("/jobs", params={"model_sha256": sha256}).json()["jobs"]) == 1
    )
    assert api.stored() - before == {f"models/{sha256}"}
