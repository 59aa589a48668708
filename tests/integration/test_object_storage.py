"""The service on a bucket of a real S3 server; afterwards its own disk is empty."""

import hashlib
import json

import httpx
import pytest
from digits import MODELS
from support.service.running_service import serving

from app.storage import ObjectStorage
from convpress import Client

MODEL = (MODELS / "residual.onnx").read_bytes()
ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])
LARGEST = len(MODEL) + 1000


def put(url, key, content, tmp_path):
    file = tmp_path / "content"
    file.write_bytes(content)
    ObjectStorage(url, tmp_path / "elsewhere").keep(file, key)


@pytest.mark.slow
def test_a_job_from_upload_to_download(bucket, tmp_path):
    with serving(tmp_path / "data", storage_url=bucket) as service:
        job = service.wait(service.post()["id"])
        assert job["state"] == "succeeded"
        artifact = job["result"]["artifact"]
        response = service.http.get(artifact["href"])
        assert hashlib.sha256(response.content).hexdigest() == artifact["sha256"]
        assert response.headers["content-length"] == str(artifact["bytes"])
        part = service.http.get(
            artifact["href"],
            headers={"Range": "bytes=10-19", "If-Range": response.headers["etag"]},
        )
        assert part.status_code == 206
        assert part.content == response.content[10:20]
        assert service.http.head(artifact["href"]).headers["content-length"] == str(
            artifact["bytes"]
        )
        assert (
            service.http.get(f"/jobs/{job['id']}/report").json()["keep"]
            == job["result"]["keep"]
        )
        storage = ObjectStorage(bucket, tmp_path / "elsewhere")
        assert len(list(storage.keys("artifacts/"))) == 2
        again = service.http.post(
            "/jobs",
            files={
                "flops_budget": (None, "0.6"),
                "calibration": (None, "none"),
                "model_sha256": (None, job["model"]["sha256"]),
            },
        )
        assert service.wait(again.json()["id"])["state"] == "succeeded"
        messages = [
            service.http.get(f"/jobs/{each['id']}/report").json()["engine"]
            for each in (job, again.json())
        ]
        assert [engine["analysis_reused"] for engine in messages] == [False, True]
        assert len(list(storage.keys("analyses/"))) == 1
        files = [
            path
            for path in (tmp_path / "data" / "storage").rglob("*")
            if path.is_file()
        ]
        assert files == []
        for each in (job, again.json()):
            assert service.http.delete(f"/jobs/{each['id']}").status_code == 204
        assert [
            key
            for folder in ("artifacts/", "models/", "analyses/")
            for key in storage.keys(folder)
        ] == []


@pytest.mark.slow
def test_downloads_are_sent_to_the_bucket_where_that_is_wanted(
    start_api, bucket, tmp_path
):
    with start_api(storage_url=bucket, redirect_downloads="true") as api:
        job = api.post().json()
        sha256 = api.succeed(job["id"], b"artifact")
        for key in api.stored():  # where the test has put it
            put(bucket, key, (api.data_dir / "storage" / key).read_bytes(), tmp_path)
        response = api.http.get(f"/jobs/{job['id']}/artifact")
        assert response.status_code == 307
        assert response.headers["etag"] == f'"{sha256}"'
        assert httpx.get(response.headers["location"]).content == b"artifact"
        (tmp_path / f".net.onnx.{sha256[:16]}.part").write_bytes(b"arti")
        with Client(str(api.http.base_url)) as client:
            assert (
                client.download(job["id"], tmp_path / "net.onnx").read_bytes()
                == b"artifact"
            )


@pytest.mark.slow
def test_a_bucket_that_does_not_answer(start_api, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with start_api(storage_url=bucket) as api:
        response = api.post()
        assert response.status_code == 503
        assert response.json()["code"] == "storage_unavailable"
        assert api.http.get("/jobs").json()["jobs"] == []
        assert api.left_over() == []
        assert api.http.get("/readyz").json()["field"] == "storage"


@pytest.fixture(scope="module")
def reading(api_server, s3_endpoint, make_bucket, tmp_path_factory):
    """An API that reads models below a prefix, and that prefix; shared by these tests."""
    with pytest.MonkeyPatch.context() as patch:
        models = f"{make_bucket(s3_endpoint, patch)}/models/"
        settings = {
            "model_uri_prefixes": json.dumps(["s3://other/", models]),
            "max_upload_bytes": str(LARGEST),
        }
        with api_server(tmp_path_factory.mktemp("reading"), **settings) as api:
            yield api, models


def test_a_model_by_reference_is_stored_like_an_upload(reading, tmp_path):
    api, models = reading
    put(models, "team/net.onnx", MODEL, tmp_path)
    form = {
        "flops_budget": (None, "0.5"),
        "model_uri": (None, f"{models}team/net.onnx"),
    }
    job = api.http.post("/jobs", files=form).json()
    assert job["model"] == {
        "filename": "net.onnx",
        "format": "onnx",
        "sha256": hashlib.sha256(MODEL).hexdigest(),
        "bytes": len(MODEL),
    }
    assert f"models/{job['model']['sha256']}" in api.stored()
    assert api.left_over() == []


def test_references_that_lead_nowhere(reading, tmp_path):
    api, models = reading
    put(models.removesuffix("models/"), "secret.onnx", ONNX, tmp_path)
    for rest in ("missing.onnx", "../secret.onnx"):
        form = {"flops_budget": (None, "0.5"), "model_uri": (None, models + rest)}
        response = api.http.post("/jobs", files=form)
        assert (response.status_code, response.json()["code"]) == (
            422,
            "model_uri_invalid",
        ), rest
    assert api.left_over() == []


def test_references_that_are_no_models_or_too_large(reading, tmp_path):
    api, models = reading
    put(models, "text", b"no model at all", tmp_path)
    put(models, "large", b"x" * (LARGEST + 1000), tmp_path)
    for name, code in (("text", "model_unrecognised"), ("large", "upload_too_large")):
        form = {"flops_budget": (None, "0.5"), "model_uri": (None, models + name)}
        assert api.http.post("/jobs", files=form).json()["code"] == code
    assert api.left_over() == []
