"""The frontier of a job as a resource: the points of its report, with an entity tag."""

import json

import pytest

from convpress.client.client import Client

POINTS = [
    {
        "macs": 300,
        "keep": 0.3,
        "latency_keep": None,
        "budget_keep": 0.35,
        "predicted_error": 0.02,
    },
    {
        "macs": 1000,
        "keep": 1.0,
        "latency_keep": None,
        "budget_keep": 1.0,
        "predicted_error": 0.0,
    },
]


@pytest.fixture
def succeeded(api):
    """End a job with a report, and return its id."""

    def end(report):
        job_id = api.post().json()["id"]
        api.succeed(job_id, b"artifact", report)
        return job_id

    return end


def test_the_frontier_has_the_points_of_the_report_and_the_budget_that_varies(
    api, succeeded
):
    report = {
        "budget": {"params_budget": "50%", "allowed": 5},
        "frontier": POINTS,
        "sites": [],
    }
    job_id = succeeded(json.dumps(report).encode())
    response = api.http.get(f"/jobs/{job_id}/frontier")
    assert response.status_code == 200
    assert response.json() == {"budget": "params_budget", "points": POINTS}
    tag = {"If-None-Match": response.headers["ETag"]}
    known = api.http.get(f"/jobs/{job_id}/frontier", headers=tag)
    assert (known.status_code, known.content) == (304, b"")
    with Client(str(api.http.base_url)) as client:
        assert [point.macs for point in client.frontier(job_id)] == [300, 1000]


def test_a_client_reads_the_points_of_a_large_report_from_it(api, succeeded):
    report = json.dumps({"budget": {}, "frontier": POINTS}).encode() + b" " * 2**22
    with Client(str(api.http.base_url)) as client:
        assert [point.keep for point in client.frontier(succeeded(report))] == [
            0.3,
            1.0,
        ]


def test_a_job_without_a_report_has_no_frontier(api):
    job_id = api.post().json()["id"]
    response = api.http.get(f"/jobs/{job_id}/frontier")
    assert (response.status_code, response.json()["code"]) == (409, "job_unfinished")
