"""Requests are counted by route for all processes, and none is lost without a database."""

import anyio
from support.service.callers import FORM, SHA256
from support.service.running_service import wait_for

from app.db.session import transaction
from app.main import create_app
from app.stats import queries
from app.stats.request_counts import RequestCounts


def told():
    with transaction() as session:
        requests = queries.service_statistics(session).requests
        return {name: times.at_most[-1] for name, times in requests.items()}


def lines(client):
    text = client.get("/metrics").text
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if "#" not in line
    }


def count(method, route, status):
    labels = f'method="{method}",route="{route}",status="{status}"'
    return f"convpress_http_request_seconds_count{{{labels}}}"


def test_each_process_tells_what_all_have_served(client_of, settings):
    first = client_of(create_app())
    second = client_of(create_app())
    job = first.post("/jobs", **FORM).json()
    first.get(f"/jobs/{job['id']}")
    first.get("/jobs/none-such")
    second.get(f"/dashboard/models/{SHA256}")
    second.get("/dashboard/static/dashboard.css")
    second.get("/dashboard/static/none-such")
    lines(first)
    counted = lines(second)
    assert counted[count("POST", "/jobs", 202)] == 1
    assert counted[count("GET", "/jobs/{job_id}", 200)] == 1
    assert counted[count("GET", "/jobs/{job_id}", 404)] == 1
    assert counted[count("GET", "/dashboard/models/{sha256}", 200)] == 1
    assert [
        counted[count("GET", "/dashboard/static", status)] for status in (200, 404)
    ] == [1, 1]


def test_what_anybody_can_make_up_makes_no_series(client):
    for number in range(5):
        client.request(f"MADE{number}", f"/made/{number}")
    assert [series for series in lines(client) if "made" in series.lower()] == []
    assert lines(client)[count("other", "other", 404)] == 5


def test_a_wait_that_was_asked_for_is_no_slowness(client):
    job = client.post("/jobs", **FORM).json()
    series = 'method="GET",route="/jobs/{job_id}",status="200"'

    def seconds():
        before = lines(client).get(f"convpress_http_request_seconds_sum{{{series}}}", 0)
        client.get(f"/jobs/{job['id']}", params={"wait": 0.6})
        after = lines(client)[f"convpress_http_request_seconds_sum{{{series}}}"]
        return after - before

    # one of several suffices, since the machine may be busy
    wait_for(lambda: seconds() < 0.3, "a request that counts no wait", 30)


def test_what_is_left_is_counted_at_the_end(settings):
    counted = RequestCounts()
    counted.count("GET", "/jobs", 200, 0.01)

    async def stop_at_once():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(counted.flush_regularly)
            await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()

    anyio.run(stop_at_once)
    assert told() == {("GET", "/jobs", "200"): 1}
