"""Jobs over HTTP: what the calls refuse before they look at a job, and where they lead."""

import pytest
from support.service.callers import FORM, HTML, MULTIPART

from app.storage import get_storage


@pytest.mark.parametrize("key", ["", "a b", "a\tb", "x" * 256])
def test_a_bad_key_is_refused_before_the_form(client, unread_body, key):
    headers = {"Idempotency-Key": key, **MULTIPART}
    response = client.post("/jobs", headers=headers, **unread_body)
    assert response.status_code == 400
    assert response.json()["code"] == "idempotency_key_invalid"


def test_a_browser_is_led_to_the_page_of_the_job(client):
    answer = client.post("/jobs", **FORM, headers=HTML | {"Origin": "http://localhost"})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/dashboard/jobs/")


def test_a_queued_job_says_when_to_ask_again_and_an_ended_one_does_not(client):
    posted = client.post("/jobs", **FORM)
    path = posted.headers["Location"]
    assert posted.headers["Retry-After"] == "1"
    assert client.get(path).headers["Retry-After"] == "1"
    client.post(f"{path}/cancel")
    ended = client.get(path, params={"wait": 60})
    assert "Retry-After" not in ended.headers
    tag = {"If-None-Match": ended.headers["ETag"]}
    assert client.get(path, headers=tag).status_code == 304


def test_a_deleted_job_takes_its_model_along(client):
    job = client.post("/jobs", **FORM).json()
    path = f"/jobs/{job['id']}"
    assert client.request("DELETE", path).status_code == 409
    client.post(f"{path}/cancel")
    assert client.request("DELETE", path).status_code == 204
    assert client.get(path).status_code == 404
    assert list(get_storage().keys("models/")) == []
