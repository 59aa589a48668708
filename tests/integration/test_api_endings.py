"""Jobs are cancelled while they run and deleted after their end, and never otherwise."""

import httpx
import pytest


def test_a_queued_job_is_cancelled_once_and_for_all(api):
    job = api.post().json()
    response = api.http.post(f"/jobs/{job['id']}/cancel")
    assert response.status_code == 200
    assert response.json()["state"] == "cancelled"
    assert response.json()["finished_at"]
    again = api.http.post(f"/jobs/{job['id']}/cancel")
    assert again.json() == response.json()
    assert api.http.get(f"/jobs/{job['id']}").json() == response.json()


def test_a_running_job_loses_its_lease(api):
    job = api.post().json()
    api.change(job["id"], state="running", phase="factoring", lease_owner="someone")
    assert api.http.post(f"/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    assert api.row(job["id"]).lease_owner is None


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_a_job_that_has_ended_is_not_cancelled(api, state):
    job = api.post().json()
    api.change(job["id"], state=state)
    response = api.http.post(f"/jobs/{job['id']}/cancel")
    assert response.status_code == 409
    assert response.json()["code"] == "job_finished"
    assert response.json()["got"] == state
    assert api.http.get(f"/jobs/{job['id']}").json()["state"] == state


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_job_that_has_not_ended_is_not_forgotten(api, state):
    job = api.post().json()
    api.change(job["id"], state=state)
    response = api.http.delete(f"/jobs/{job['id']}")
    assert response.status_code == 409
    assert response.json()["code"] == "job_unfinished"
    assert api.http.get(f"/jobs/{job['id']}").status_code == 200


def test_a_forgotten_job_takes_its_files_along_and_the_model_with_the_last(api):
    model = bytes([0x08, 0x0A, 0x3A, 0x00]) + b"\x3a\x00"
    first = api.post(model).json()
    second = api.post(model).json()
    key = f"models/{first['model']['sha256']}"
    api.succeed(first["id"], b"artifact")
    api.http.post(f"/jobs/{second['id']}/cancel")
    assert api.http.delete(f"/jobs/{first['id']}").status_code == 204
    assert key in api.stored()
    assert not [name for name in api.stored() if first["id"] in name]
    assert api.http.delete(f"/jobs/{second['id']}").status_code == 204
    assert key not in api.stored()
    for job in (first, second):
        assert api.http.get(f"/jobs/{job['id']}").status_code == 404
        assert api.http.delete(f"/jobs/{job['id']}").json()["code"] == "job_not_found"
    assert api.http.get(f"/jobs/{api.post(model).json()['id']}").status_code == 200
    assert key in api.stored()


def test_a_model_stays_while_another_job_waits_for_it(api):
    model = bytes([0x08, 0x0A, 0x3A, 0x00]) + b"\x3a\x00\x3a\x00"
    first = api.post(model).json()
    second = api.post(model).json()
    api.http.post(f"/jobs/{first['id']}/cancel")
    api.http.delete(f"/jobs/{first['id']}")
    assert f"models/{second['model']['sha256']}" in api.stored()


@pytest.mark.parametrize(
    "path", ["/jobs/7", "/jobs/6f2c8b1e-3d4a-4c5b-9e7f-0a1b2c3d4e5f"]
)
def test_an_unknown_job_is_neither_cancelled_nor_forgotten(api, path):
    assert api.http.post(f"{path}/cancel").json()["code"] == "job_not_found"
    assert api.http.delete(path).json()["code"] == "job_not_found"


def test_the_same_on_postgresql(postgres_api):
    before = postgres_api.stored()
    job = postgres_api.post(bytes([0x08, 0x0A, 0x3A, 0x00]) + b"\x3a\x00" * 9).json()
    assert postgres_api.stored() - before == {f"models/{job['model']['sha256']}"}
    assert postgres_api.http.delete(f"/jobs/{job['id']}").status_code == 409
    assert (
        postgres_api.http.post(f"/jobs/{job['id']}/cancel").json()["state"]
        == "cancelled"
    )
    assert postgres_api.http.delete(f"/jobs/{job['id']}").status_code == 204
    assert postgres_api.stored() == before


def test_an_artifact_that_changed_on_its_disk_is_not_sent_whole(api):
    job = api.post().json()
    content = bytes(3_000_000)
    sha256 = api.succeed(job["id"], content)
    path = api.data_dir / "storage" / "artifacts" / job["id"] / sha256
    path.write_bytes(content[:-1] + b"x")
    address = f"/jobs/{job['id']}/artifact"
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        api.http.get(address)
    artifact = api.http.get(f"/jobs/{job['id']}").json()["result"]["artifact"]
    assert artifact["damaged_at"] is not None
    for headers in ({}, {"Range": "bytes=0-99"}):
        response = api.http.get(address, headers=headers)
        assert (response.status_code, response.json()["code"]) == (410, "file_damaged")
    assert "a stored file is damaged" in api.log.read_text()
    path.write_bytes(content)
    assert api.http.get(address).content == content
    artifact = api.http.get(f"/jobs/{job['id']}").json()["result"]["artifact"]
    assert artifact["damaged_at"] is None
