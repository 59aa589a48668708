"""Calls: which answers are retried, after which pauses, and for how long."""

from contextlib import asynccontextmanager

import httpx
import pytest

from convpress.client.errors import Refused, Unavailable
from convpress.client.transport import RetryBudget, call, read_body, run_blocking

PROBLEM = {
    "type": "about:blank",
    "title": "Unknown job",
    "status": 404,
    "detail": "there is no job",
    "instance": "/jobs/7",
    "code": "job_not_found",
}


class Script:
    """A transport that gives these answers in turn, and keeps the pauses between them."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.pauses = []
        self.http = httpx.Client(base_url="http://service")

    @asynccontextmanager
    async def stream(self, request):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        answer.request = request
        yield answer

    async def chunks(self, response):
        yield response.content

    async def sleep(self, seconds):
        self.pauses.append(seconds)


class Clock:
    """A clock that moves by the pauses of a script alone."""

    def __init__(self, script):
        self.script = script

    def __call__(self):
        return sum(self.script.pauses)


def problem(status, **headers):
    media_type = {"content-type": "application/problem+json"}
    return httpx.Response(status, json=PROBLEM, headers=media_type | headers)


def get(script, seconds=60.0):
    retries = RetryBudget(seconds, Clock(script))

    def build_request():
        return script.http.build_request("GET", "/jobs/7")

    return run_blocking(
        call(
            script, build_request, lambda response: read_body(script, response), retries
        )
    )


def test_faults_of_the_network_and_passing_answers_are_retried():
    answers = (
        httpx.ConnectError("down"),
        problem(503),
        problem(429),
        httpx.Response(200),
    )
    script = Script(*answers)
    assert get(script) == b""
    assert len(script.pauses) == 3


def test_pauses_grow_up_to_ten_seconds():
    script = Script(*[problem(502)] * 50)
    with pytest.raises(Refused):
        get(script)
    assert script.pauses[0] <= 0.25
    assert 5 <= max(script.pauses) <= 10
    assert sum(script.pauses) <= 60


def test_the_service_names_the_least_pause():
    script = Script(problem(429, **{"retry-after": "17"}), httpx.Response(200))
    get(script)
    assert script.pauses == [17]


def test_a_pause_beyond_the_budget_is_not_waited_for():
    script = Script(problem(429, **{"retry-after": "61"}))
    with pytest.raises(Refused):
        get(script)
    assert script.pauses == []


def test_a_refusal_is_raised_at_once():
    script = Script(problem(404))
    with pytest.raises(Refused) as refused:
        get(script)
    assert refused.value.problem.code == "job_not_found"
    assert script.pauses == []


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, text="<h1>nothing here</h1>"),
        httpx.Response(
            404, json={}, headers={"content-type": "application/problem+json"}
        ),
    ],
    ids=["a page", "a problem without members"],
)
def test_another_service_is_told_from_this_one(answer):
    with pytest.raises(Unavailable, match="answered 404, and not as the service does"):
        get(Script(answer))


def test_progress_renews_the_budget():
    script = Script()
    retries = RetryBudget(10, Clock(script))
    assert retries.next_pause(0) is not None
    script.pauses.append(11)
    assert retries.next_pause(0) is None
    retries.renew()
    assert retries.next_pause(0) <= 0.25


def test_a_coroutine_that_suspends_is_no_blocking_one():
    class Suspended:
        def __await__(self):
            yield

    async def suspend():
        await Suspended()

    with pytest.raises(RuntimeError, match="suspended its caller"):
        run_blocking(suspend())
