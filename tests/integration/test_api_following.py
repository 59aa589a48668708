"""Long polls return when a job has changed; events come once and in order."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture
def job(api):
    return api.post().json()["id"]


@pytest.fixture
def later():
    """Call something in half a second; the test ends after the call."""
    timers = []

    def start(action, *arguments, **columns):
        timers.append(threading.Timer(0.5, action, arguments, columns))
        timers[-1].start()

    yield start
    for timer in timers:
        timer.join()


def timed(call):
    began = time.monotonic()
    return call(), time.monotonic() - began


def test_a_long_poll_ends_with_the_job(api, job, later):
    later(api.http.post, f"/jobs/{job}/cancel")
    response, seconds = timed(lambda: api.http.get(f"/jobs/{job}", params={"wait": 60}))
    assert response.json()["state"] == "cancelled"
    assert seconds < 59
    response, seconds = timed(lambda: api.http.get(f"/jobs/{job}", params={"wait": 60}))
    assert seconds < 59


def test_a_long_poll_with_a_tag_ends_with_any_change(api, job, later):
    tag = api.http.get(f"/jobs/{job}").headers["etag"]
    later(api.change, job, phase="factoring", state="running", progress=0.2)
    response, seconds = timed(
        lambda: api.http.get(
            f"/jobs/{job}", params={"wait": 60}, headers={"If-None-Match": tag}
        )
    )
    assert response.status_code == 200
    assert response.json()["phase"] == "factoring"
    assert seconds < 59


def test_a_long_poll_in_vain_says_how_things_stand(api, job):
    response, seconds = timed(
        lambda: api.http.get(f"/jobs/{job}", params={"wait": 0.5})
    )
    assert response.status_code == 200
    assert response.json()["state"] == "queued"
    assert 0.5 <= seconds < 59
    tag = {"If-None-Match": response.headers["etag"]}
    assert (
        api.http.get(f"/jobs/{job}", params={"wait": 0.5}, headers=tag).status_code
        == 304
    )


def test_many_wait_at_once_and_all_are_told(api, job):
    with ThreadPoolExecutor(40) as pool:
        waiting = [
            pool.submit(api.http.get, f"/jobs/{job}", params={"wait": 60})
            for _ in range(40)
        ]
        time.sleep(0.5)
        api.http.post(f"/jobs/{job}/cancel")
        assert {call.result().json()["state"] for call in waiting} == {"cancelled"}


def test_a_job_forgotten_while_somebody_waits(api, job, later):
    def forget():
        api.http.post(f"/jobs/{job}/cancel")
        api.http.delete(f"/jobs/{job}")

    later(forget)
    response = api.http.get(f"/jobs/{job}", params={"wait": 20})
    assert response.status_code in (200, 404)


@pytest.mark.parametrize("wait", ["-1", "61", "x", "nan", "inf"])
def test_a_wait_that_is_none(api, job, wait):
    response = api.http.get(f"/jobs/{job}", params={"wait": wait})
    assert response.status_code == 422
    assert response.json()["field"] == "wait"


def follow(api, job, last=None):
    """Give the events of a job as they come, until the stream ends, as (id, event, data)."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    with api.http.stream("GET", f"/jobs/{job}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        fields = {}
        for line in response.iter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield fields.get("id"), fields["event"], json.loads(fields["data"])
                fields = {}


def test_a_job_is_told_from_its_beginning_to_its_end(api, job):
    events = []
    for event in follow(api, job):
        events.append(event)
        if event[1] == "progress":
            api.http.post(f"/jobs/{job}/cancel")
        elif event[2]["state"] == "queued":
            api.change(
                job, state="running", phase="factoring", progress=0.4, eta_seconds=7.5
            )
    assert [(kind, data.get("state") or data["phase"]) for _, kind, data in events] == [
        ("state", "queued"),
        ("progress", "factoring"),
        ("state", "cancelled"),
    ]
    assert events[1][2] == {"phase": "factoring", "progress": 0.4, "eta_seconds": 7.5}
    assert events[1][0] is None
    first = int(events[0][0])
    last = int(events[2][0])
    assert first < last
    assert [data["state"] for _, _, data in follow(api, job, first)] == ["cancelled"]
    assert (
        api.http.get(
            f"/jobs/{job}/events", headers={"Last-Event-ID": str(last)}
        ).status_code
        == 204
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
    assert response.status_code == 422
    assert response.json()["field"] == "last-event-id"


def test_events_of_an_unknown_job(api):
    assert api.http.get("/jobs/7/events").json()["code"] == "job_not_found"


def test_the_same_on_postgresql(postgres_api):
    job = postgres_api.post().json()["id"]
    states = []
    for _, _, data in follow(postgres_api, job):
        states.append(data["state"])
        postgres_api.http.post(f"/jobs/{job}/cancel")
    assert states == ["queued", "cancelled"]
    assert (
        postgres_api.http.get(f"/jobs/{job}", params={"wait": 20}).json()["state"]
        == "cancelled"
    )
