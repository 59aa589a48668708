"""The form of new jobs: several budgets make several jobs of one stored model."""

import pytest
from support.service.callers import FORM, HTML, OWN, SHA256, bearing, cookie, token

from app.errors import PROBLEM_TYPES


def submit(client, headers, **fields):
    return client.post(
        "/dashboard/jobs",
        data=FORM["data"] | fields,
        files=FORM["files"],
        headers=headers,
    )


def test_several_budgets_make_one_job_each(guarded):
    client = guarded()
    key = token("ann")
    fields = {
        "flops_budget": "70%, 0.5; 3.6 GMACs, 70%",
        "params_budget": "60%",
        "labels": "a=b",
    }
    answer = submit(client, cookie(key) | OWN, **fields)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/?q={SHA256}")
    jobs = client.get("/jobs", headers=bearing(key)).json()["jobs"]
    assert {job["flops_budget"] for job in jobs} == {"70%", "0.5", "3.6 GMACs"}
    assert len(jobs) == 3
    for job in jobs:
        assert (job["params_budget"], job["labels"]) == ("60%", {"a": "b"})
        assert job["model"]["sha256"] == SHA256
    listed = client.get(answer.headers["location"], headers=cookie(key)).text
    assert listed.count("net.onnx</a>") == 3


@pytest.mark.parametrize("fields", [{}, {"flops_budget": "", "params_budget": "60%"}])
def test_one_budget_leads_to_its_job(client, fields):
    answer = submit(client, HTML | OWN, **fields)
    assert answer.headers["location"].startswith("/dashboard/jobs/")
    [job] = client.get("/jobs").json()["jobs"]
    assert job["flops_budget"] == (None if fields else "0.5")


@pytest.mark.parametrize(
    ("budgets", "reason"),
    [
        ("0.5, 7 apples", "7 apples"),
        (", ".join(f"{percent}%" for percent in range(1, 12)), "at most 10 budgets"),
    ],
)
def test_a_list_with_a_fault_makes_no_job(client, budgets, reason):
    answer = submit(client, HTML | OWN, flops_budget=budgets)
    assert answer.status_code == PROBLEM_TYPES["budget_invalid"].status
    assert reason in answer.text
    assert client.get("/jobs").json()["jobs"] == []


def test_all_jobs_of_a_form_count_against_the_quota(guarded):
    client = guarded(owner_unfinished_jobs="2")
    key = token("ann")
    refused = submit(client, cookie(key) | OWN, flops_budget="0.7, 0.5, 0.3")
    assert refused.status_code == PROBLEM_TYPES["quota_exceeded"].status
    assert client.get("/jobs", headers=bearing(key)).json()["jobs"] == []
    assert submit(client, cookie(key) | OWN, flops_budget="0.7, 0.5").status_code == 303
