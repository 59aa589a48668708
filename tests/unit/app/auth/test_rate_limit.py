"""Requests are counted by owner, in Redis for all processes where it answers."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from limits import RateLimitItemPerSecond
from support.service.callers import bearing, token
from support.service.running_service import wait_for

from app.auth import rate_limit
from app.errors import Problem


def waits(settings, owner, number):
    """The seconds to wait that each of `number` requests is told; None for those that pass."""
    return [_wait(settings, owner) for _ in range(number)]


def _wait(settings, owner):
    try:
        rate_limit.check_rate(owner, settings)
    except Problem as problem:
        return int(problem.headers["Retry-After"])
    return None


def test_requests_are_counted_in_redis_for_all_processes(configure, redis_url):
    settings = configure(broker_url=redis_url, owner_requests_per_minute="2")
    owner = uuid.uuid4().hex
    first, second, third = waits(settings, owner, 3)
    assert first is None
    assert second is None
    assert 30 < third <= 61
    rate_limit.shared_limiter.cache_clear()  # as another process would
    assert waits(settings, owner, 1) != [None]
    assert waits(settings, uuid.uuid4().hex, 1) == [None]


@pytest.mark.parametrize("broker", ["folder", "redis"])
def test_a_window_ends(configure, request, monkeypatch, broker):
    url = (
        {"broker_url": request.getfixturevalue("redis_url")}
        if broker == "redis"
        else {}
    )
    monkeypatch.setattr(rate_limit, "RateLimitItemPerMinute", RateLimitItemPerSecond)
    settings = configure(owner_requests_per_minute="1", **url)
    owner = uuid.uuid4().hex
    # Two requests fall into one second, unless the machine is busy.
    wait = wait_for(lambda: _wait(settings, owner), "a refusal")
    assert 1 <= wait <= 2
    wait_for(lambda: _wait(settings, owner) is None, "the next window")


def test_redis_that_is_down_refuses_nobody_below_the_limit(configure):
    settings = configure(
        broker_url="redis://127.0.0.1:1/0", owner_requests_per_minute="1"
    )
    first, second = waits(settings, uuid.uuid4().hex, 2)
    assert first is None
    assert 30 < second <= 61


def test_requests_at_once_are_counted_one_by_one(settings):
    owner = uuid.uuid4().hex
    allowed = settings.model_copy(update={"owner_requests_per_minute": 100})
    with ThreadPoolExecutor(20) as threads:
        refusals = list(threads.map(lambda _: _wait(allowed, owner), range(120)))
    assert refusals.count(None) == 100


def test_requests_are_counted_by_owner(guarded):
    client = guarded(owner_requests_per_minute="3")
    ann = token("ann")
    other = token("ann")
    assert [
        client.get("/jobs", headers=bearing(each)).status_code
        for each in (ann, other, ann)
    ] == [200] * 3
    late = client.get("/jobs", headers=bearing(other))
    assert late.status_code == 429
    assert late.json()["code"] == "rate_exceeded"
    assert 1 <= int(late.headers["Retry-After"]) <= 61
    assert client.get("/jobs", headers=bearing(token("bob"))).status_code == 200
