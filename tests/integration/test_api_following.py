"""Long polls return when a job has changed; events come once and in order."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture
def job(api):
    return api.post().json()["id"]


def later(seconds, action, *arguments, **columns):
    timer = threading.Timer(seconds, action, arguments, columns)
    timer.start()
    return timer


def timed(call):
    began = time.monotonic()
    return call(), time.monotonic() - began


def test_a_long_poll_ends_with_the_job(api, job):
    later(0.5, api.http.post, f"/jobs/{job}/cancel")
    response, seconds = timed(lambda: api.http.get(f"/jobs/{job}", params={"wait": 20}))
    assert response.json()["state"] == "cancelled"
    assert 0.4 < seconds < 10
    response, seconds = timed(lambda: api.http.get(f"/jobs/{job}", params={"wait": 20}))
    assert seconds < 10


def test_a_long_poll_with_a_tag_ends_with_any_change(api, job):
    tag = api.http.get(f"/jobs/{job}").headers["etag"]
    later(0.5, api.change, job, phase="factoring", state="running", progress=0.2)
    response, seconds = timed(
        lambda: api.http.get(f"/jobs/{job}", params={"wait": 20}, headers={"If-None-Match": tag})
    )
    assert (response.status_code, response.json()["phase"]) == (200, "factoring")
    assert 0.4 < seconds < 10


def test_a_long_poll_in_vain_says_how_things_stand(api, job):
    response, seconds = timed(lambda: api.http.get(f"/jobs/{job}", params={"wait": 0.5}))
    assert (response.status_code, response.json()["state"]) == (200, "queued")
    assert 0.5 <= seconds < 10
    tag = {"If-None-Match": response.headers["etag"]}
    assert api.http.get(f"/jobs/{job}", params={"wait": 0.5}, headers=tag).status_code == 304


def test_many_wait_at_once_and_all_are_told(api, job):
    with ThreadPoolExecutor(40) as pool:
        waiting = [
            pool.submit(api.http.get, f"/jobs/{job}", params={"wait": 20}) for _ in range(40)
        ]
        time.sleep(1)
        api.http.post(f"/jobs/{job}/cancel")
        assert {call.result().json()["state"] for call in waiting} == {"cancelled"}


def test_a_job_forgotten_while_somebody_waits(api, job):
    def forget():
        api.http.post(f"/jobs/{job}/cancel")
        api.http.delete(f"/jobs/{job}")

    later(0.5, forget)
    response = api.http.get(f"/jobs/{job}", params={"wait": 20})
    assert response.status_code in (200, 404)


@pytest.mark.parametrize("wait", ["-1", "61", "x", "nan", "inf"])
def test_a_wait_that_is_none(api, job, wait):
    response = api.http.get(f"/jobs/{job}", params={"wait": wait})
    assert (response.status_code, response.json()["field"]) == (422, "wait")


def follow(api, job, last=None):
    """All events of a job until the stream ends, as (id, event, data)."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    with api.http.stream("GET", f"/jobs/{job}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        for block in response.read().decode().split("\n\n"):
            lines = dict(
                line.partition(": ")[::2] for line in block.splitlines() if not line.startswith(":")
            )
            if lines:
                yield lines.get("id"), lines["event"], json.loads(lines["data"])


def test_a_job_is_told_from_its_beginning_to_its_end(api, job):
    later(0.5, api.change, job, state="running", phase="factoring", progress=0.4)
    later(1.2, api.http.post, f"/jobs/{job}/cancel")
    events = list(follow(api, job))
    assert [(kind, data.get("state") or data["phase"]) for _, kind, data in events] == [
        ("state", "queued"),
        ("progress", "factoring"),
        ("state", "cancelled"),
    ]
    assert events[1][2] == {"phase": "factoring", "progress": 0.4}
    assert events[1][0] is None
    first, last = int(events[0][0]), int(events[2][0])
    assert first < last
    assert [data["state"] for _, _, data in follow(api, job, first)] == ["cancelled"]
    assert (
        api.http.get(f"/jobs/{job}/events", headers={"Last-Event-ID": str(last)}).status_code == 204
    )


def test_a_break_loses_no_event(api, job):
    with api.http.stream("GET", f"/jobs/{job}/events") as response:
        block = next(response.iter_text())
    seen = int(block.split("id: ")[1].split()[0])
    api.http.post(f"/jobs/{job}/cancel")
    assert [data["state"] for _, _, data in follow(api, job, seen)] == ["cancelled"]


@pytest.mark.parametrize("last", ["x", "-1", "9" * 30])
def test_an_event_id_that_is_none(api, job, last):
    response = api.http.get(f"/jobs/{job}/events", headers={"Last-Event-ID": last})
    assert (response.status_code, response.json()["field"]) == (422, "last-event-id")


def test_events_of_an_unknown_job(api):
    assert api.http.get("/jobs/7/events").json()["code"] == "job_not_found"


def test_the_same_on_postgresql(start_api, postgres_url):
    with start_api(database_url=postgres_url) as running:
        job = running.post().json()["id"]
        later(0.5, running.http.post, f"/jobs/{job}/cancel")
        assert [data["state"] for _, _, data in follow(running, job)] == ["queued", "cancelled"]
        assert running.http.get(f"/jobs/{job}", params={"wait": 20}).json()["state"] == "cancelled"
