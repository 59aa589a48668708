"""Each call is a request, and an answer that fits it; some ask several times."""

import hashlib
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import parse_qs

import httpx
import pytest
from support.service import fake_engine
from support.service.rendering import example_job

from app.errors import document
from convpress.client.api import Api, _form_fields, _query
from convpress.client.errors import Corrupt, JobFailed, Refused, TooLate, Unavailable
from convpress.client.transport import run_blocking

JOB = example_job()
CONTENT = b"artifact"


class Service:
    """A transport that answers by a function, and keeps the requests."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []
        self.http = httpx.Client(base_url="http://service")

    @asynccontextmanager
    async def stream(self, request):
        self.requests.append(request)
        response = self.answer(request)
        response.request = request
        yield response

    async def chunks(self, response):
        yield response.content

    async def sleep(self, seconds):
        raise AssertionError("it does not wait")


def calling(answer):
    """Return calls of a service, and the service."""
    service = Service(answer)
    api = Api(service, 0.0)

    def call(name, *arguments, **options):
        return run_blocking(getattr(api, name)(*arguments, **options))

    return call, service


def record(job, **headers):
    return httpx.Response(200, content=job.model_dump_json(), headers=headers)


def problem(code):
    members = document({"code": code, "detail": "so it is"}, "/jobs")
    media_type = {"content-type": "application/problem+json"}
    return httpx.Response(members["status"], json=members, headers=media_type)


def in_state(state, **members):
    return JOB.model_copy(update={"state": state, **members})


def test_fields_of_a_form_are_texts_of_what_was_asked_for():
    options = {
        "flops_budget": 0.5,
        "threads": 2,
        "flops_at_any_price": True,
        "input_shape": None,
        "labels": {"a": "1", "b": ""},
        "samples": "samples.npz",
        "evaluation": "evaluation.npz",
    }
    assert _form_fields(options) == {
        "flops_budget": "0.5",
        "threads": "2",
        "flops_at_any_price": "true",
        "labels": "a=1,b=",
    }
    assert _form_fields({"labels": {}}) == {}


def test_a_query_has_times_and_labels_as_text():
    at = datetime(2026, 5, 4, tzinfo=UTC)
    which = {"state": ["failed"], "created_from": at, "labels": {"a": "1"}}
    assert _query(which) == {
        "state": ["failed"],
        "created_from": "2026-05-04T00:00:00+00:00",
        "label": ["a=1"],
    }


def test_an_id_leads_to_no_other_path():
    call, service = calling(lambda _: record(JOB))
    assert call("job", "../stats?x") == JOB
    assert service.requests[0].url.raw_path == b"/jobs/..%2Fstats%3Fx"


def test_an_answer_of_another_service_is_none_of_this():
    call, _ = calling(lambda _: httpx.Response(200, text="hello"))
    with pytest.raises(Unavailable, match="not as the service does"):
        call("job", JOB)


def test_a_model_is_posted_under_a_key_with_its_samples_first(tmp_path):
    model, samples = tmp_path / "net.onnx", tmp_path / "samples.npz"
    model.write_bytes(b"model")
    samples.write_bytes(b"samples")

    def answer(request):
        request.read()
        return record(JOB)

    call, service = calling(answer)
    assert call("submit", model, 0.5, samples=samples) == JOB
    [request] = service.requests
    assert len(request.headers["Idempotency-Key"]) == 36
    order = [
        request.content.index(b'name="' + name)
        for name in (b"flops_budget", b"samples", b"model")
    ]
    assert order == sorted(order)


def test_an_advice_on_an_earlier_model_sends_no_file():
    def answer(request):
        request.read()
        return record(JOB)

    call, service = calling(answer)
    call("advise", JOB, input_range="0,255")
    [request] = service.requests
    assert request.url.path == "/advice"
    assert JOB.model.sha256.encode() in request.content


def test_a_job_that_compresses_gives_no_advice():
    call, _ = calling(lambda _: record(JOB))
    with pytest.raises(ValueError, match="gives no advice"):
        call("advice", JOB)


def test_a_job_is_followed_until_it_has_succeeded():
    states = [record(in_state("running"), etag='"1"'), httpx.Response(304), record(JOB)]
    seen = []
    call, service = calling(lambda _: states.pop(0))
    assert call("wait", JOB, on_progress=seen.append) == JOB
    assert [job.state for job in seen] == ["running", "succeeded"]
    tags = [request.headers.get("if-none-match") for request in service.requests]
    assert tags == [None, '"1"', '"1"']
    waits = [
        parse_qs(request.url.query.decode())["wait"] for request in service.requests
    ]
    assert waits == [["0.000"], ["30.000"], ["30.000"]]


def test_a_job_that_ends_or_lasts_is_an_error():
    call, _ = calling(lambda _: record(in_state("cancelled")))
    with pytest.raises(JobFailed, match="cancelled"):
        call("wait", JOB)
    call, _ = calling(lambda _: record(in_state("queued")))
    with pytest.raises(TooLate, match="still queued"):
        call("wait", JOB, timeout=0)


def test_only_what_changes_is_sent():
    call, service = calling(lambda _: record(JOB))
    call("annotate", JOB, labels={})
    call("annotate", JOB, note="")
    bodies = [json.loads(request.content) for request in service.requests]
    assert bodies == [{"labels": {}}, {"note": ""}]


@pytest.mark.parametrize(("limit", "asked"), [(2, [2]), (3, [3, 1]), (250, [200, 200])])
def test_pages_are_asked_for_until_there_are_enough_jobs(limit, asked):
    pages = [([JOB] * 2, "next"), ([JOB], None)]

    def answer(_):
        jobs, cursor = pages.pop(0)
        content = {
            "jobs": [json.loads(job.model_dump_json()) for job in jobs],
            "next_cursor": cursor,
        }
        return httpx.Response(200, json=content)

    call, service = calling(answer)
    assert len(call("list", limit=limit)) == min(limit, 3)
    queries = [parse_qs(request.url.query.decode()) for request in service.requests]
    assert [int(query["limit"][0]) for query in queries] == asked
    assert [query.get("cursor") for query in queries] == [None, ["next"]][: len(asked)]


@pytest.mark.parametrize("code", ["not_found", "report_unreadable"])
def test_the_frontier_is_read_from_the_report_where_there_is_no_other(code):
    def answer(request):
        if request.url.path.endswith("/frontier"):
            return problem(code)
        return httpx.Response(200, json=fake_engine.REPORT)

    call, _ = calling(answer)
    costs = [point.macs for point in call("frontier", JOB)]
    assert costs == [point["macs"] for point in fake_engine.REPORT["frontier"]]
    call, _ = calling(lambda _: problem("job_not_found"))
    with pytest.raises(Refused, match="job_not_found"):
        call("frontier", JOB)


def with_artifact():
    """Return a job whose artifact is CONTENT."""
    artifact = JOB.result.artifact.model_copy(
        update={
            "sha256": hashlib.sha256(CONTENT).hexdigest(),
            "bytes": len(CONTENT),
        }
    )
    result = JOB.result.model_copy(update={"artifact": artifact})
    return in_state("succeeded", result=result)


@pytest.mark.parametrize("honours", [True, False], ids=["a range", "no ranges"])
def test_a_download_goes_on_or_starts_again(tmp_path, honours):
    job = with_artifact()
    sha256 = job.result.artifact.sha256
    (tmp_path / f".net.onnx.{sha256[:16]}.part").write_bytes(CONTENT[:3])

    def answer(request):
        if not request.url.path.endswith("/artifact"):
            return record(job)
        assert request.headers["range"] == "bytes=3-"
        if not honours:
            return httpx.Response(200, content=CONTENT)
        place = {"content-range": f"bytes 3-{len(CONTENT) - 1}/{len(CONTENT)}"}
        return httpx.Response(206, content=CONTENT[3:], headers=place)

    call, _ = calling(answer)
    path = call("download", job, tmp_path / "net.onnx")
    assert path.read_bytes() == CONTENT


def test_a_job_without_an_artifact_cannot_be_fetched(tmp_path):
    call, _ = calling(lambda _: record(in_state("succeeded", result=None)))
    with pytest.raises(Corrupt, match="names no artifact"):
        call("download", JOB, tmp_path / "net.onnx")
