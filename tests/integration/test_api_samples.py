"""Samples and evaluations of a job: stored by their content, refused before the job is accepted."""

import hashlib
import pickle

import numpy as np
import pytest
from support.service.submissions import (
    LABELLED,
    ONNX,
    TARGETED,
    evaluated,
    model,
    sampled,
    saved,
)


def test_samples_are_stored_by_their_content_and_go_with_their_last_job(api):
    samples = saved(np.zeros((4, 3), np.float32), y=np.ones(2))
    sha256 = hashlib.sha256(samples).hexdigest()
    first = sampled(api, samples).json()
    second = sampled(api, samples).json()
    assert first["calibration"] == "samples"
    assert first["samples_sha256"] == sha256
    assert api.row(first["id"]).calibration == "samples"
    assert api.row(first["id"]).samples_sha256 == sha256
    assert (api.data_dir / "storage" / "samples" / sha256).read_bytes() == samples
    assert api.left_over() == []
    for job, kept in ((first, True), (second, False)):
        api.http.post(f"/jobs/{job['id']}/cancel")
        assert api.http.delete(f"/jobs/{job['id']}").status_code == 204
        assert (f"samples/{sha256}" in api.stored()) == kept


def test_a_stored_model_takes_samples_too(api):
    sha256 = api.post(model(22)).json()["model"]["sha256"]
    parts = {"flops_budget": (None, "0.5"), "model_sha256": (None, sha256)}
    parts["samples"] = ("samples.npy", saved(np.zeros(3)))
    response = api.http.post("/jobs", files=parts)
    assert response.status_code == 202
    assert response.json()["calibration"] == "samples"


def test_other_samples_are_another_order(api):
    key = {"Idempotency-Key": "sampled"}
    first = sampled(api, saved(np.zeros(3)), key)
    again = sampled(api, saved(np.zeros(3)), key)
    assert first.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    other = sampled(api, saved(np.ones(3)), key)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    assert api.left_over() == []


@pytest.mark.parametrize(
    ("samples", "status", "code"),
    [
        (b"", 422, "samples_invalid"),
        (b"PK\x03\x04", 422, "samples_invalid"),
        (ONNX, 422, "samples_invalid"),
        (saved(np.zeros((4, 3)))[:-1], 422, "samples_invalid"),
        (pickle.dumps([1.0]), 422, "samples_invalid"),
        (b"\x93NUMPY" + b"x" * 999_995, 413, "upload_too_large"),
    ],
)
def test_files_that_hold_no_samples_are_refused_and_nothing_is_kept(
    api, samples, status, code
):
    before = api.stored()
    problem = sampled(api, samples).json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["field"] == "samples"
    assert problem["expected"]
    assert api.left_over() == []
    assert api.stored() == before


@pytest.mark.parametrize("calibration", ["none", "synthetic"])
def test_samples_for_another_calibration_are_refused(api, calibration):
    problem = sampled(api, saved(np.zeros(3)), calibration=calibration).json()
    assert problem["code"] == "calibration_invalid"
    assert problem["expected"] == "samples"
    assert api.post(calibration="samples").json()["code"] == "calibration_invalid"
    assert api.left_over() == []


def test_an_evaluation_is_stored_by_its_content_and_goes_with_its_last_job(api):
    sha256 = hashlib.sha256(LABELLED).hexdigest()
    key = {"Idempotency-Key": "evaluated"}
    first = evaluated(api, LABELLED, key, max_loss="1%", evaluation_output="y").json()
    second = evaluated(api, LABELLED, flops_budget="auto").json()
    asked = ("max_loss", "flops_budget", "evaluation_sha256", "evaluation_metric")
    assert [first[name] for name in asked] == ["1%", None, sha256, "top-1"]
    assert [second[name] for name in asked] == [None, "auto", sha256, "top-1"]
    assert first["evaluation_output"] == "y"
    assert api.row(first["id"]).evaluation_sha256 == sha256
    again = evaluated(api, LABELLED, key, max_loss="1%", evaluation_output="y").json()
    assert again["id"] == first["id"]
    other = evaluated(api, LABELLED, key, max_loss="2%", evaluation_output="y").json()
    assert other["code"] == "idempotency_key_reused"
    assert (api.data_dir / "storage" / "evaluations" / sha256).read_bytes() == LABELLED
    assert api.left_over() == []
    for job, kept in ((first, True), (second, False)):
        api.http.post(f"/jobs/{job['id']}/cancel")
        assert api.http.delete(f"/jobs/{job['id']}").status_code == 204
        assert (f"evaluations/{sha256}" in api.stored()) == kept


@pytest.mark.parametrize(
    ("content", "fields", "code", "field"),
    [
        (b"", {}, "evaluation_invalid", "evaluation"),
        (ONNX, {}, "evaluation_invalid", "evaluation"),
        (pickle.dumps([1.0]), {}, "evaluation_invalid", "evaluation"),
        (saved(np.zeros(3)), {}, "evaluation_invalid", "evaluation"),
        (TARGETED, {}, "evaluation_invalid", "evaluation_metric"),
        (
            LABELLED,
            {"evaluation_metric": "psnr"},
            "evaluation_invalid",
            "evaluation_metric",
        ),
        (
            TARGETED,
            {"evaluation_metric": "snr"},
            "evaluation_invalid",
            "evaluation_metric",
        ),
        (LABELLED, {"max_loss": "1"}, "budget_invalid", "max_loss"),
        (
            LABELLED,
            {"max_loss": "1%", "flops_budget": "0.5"},
            "budget_invalid",
            "max_loss",
        ),
        (b"\x93NUMPY" + b"x" * 999_995, {}, "upload_too_large", "evaluation"),
    ],
)
def test_an_evaluation_that_cannot_be_one_is_refused_and_nothing_is_kept(
    api, content, fields, code, field
):
    before = api.stored()
    problem = evaluated(api, content, **({"max_loss": "1%"} | fields)).json()
    assert (problem["code"], problem["field"]) == (code, field)
    assert problem["expected"]
    assert api.left_over() == []
    assert api.stored() == before


def test_a_metric_without_an_evaluation_is_refused(api):
    problem = api.post(evaluation_metric="psnr").json()
    assert (problem["code"], problem["field"]) == ("evaluation_invalid", "evaluation")
