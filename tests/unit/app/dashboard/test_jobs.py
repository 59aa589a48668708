"""The list of jobs: forms, searches, and repeated jobs."""

import pytest
from support.service.callers import FORM, HTML, OWN, bearing, cookie, post, token

from app.db.models import Evaluation, Job, Samples
from app.db.session import transaction
from app.errors import PROBLEM_TYPES
from app.jobs import commands, queries


def test_what_a_form_asks_for_is_done(guarded):
    client = guarded()
    ann = token("ann")
    job = post(client, ann).json()["id"]
    headers = cookie(ann) | OWN
    gone = client.post(
        f"/dashboard/jobs/{job}/cancel",
        data={"next": "//evil.example"},
        headers=headers,
    )
    assert gone.status_code == 303
    assert gone.headers["location"] == "/"
    again = client.post(
        f"/dashboard/jobs/{job}/again", data={"flops_budget": "30%"}, headers=headers
    )
    job_again = client.get(
        again.headers["location"].removeprefix("/dashboard"), headers=bearing(ann)
    ).json()
    assert job_again["flops_budget"] == "30%"
    refused = client.post(
        f"/dashboard/jobs/{job}/again",
        data={"flops_budget": "7 apples"},
        headers=headers,
    )
    assert (refused.status_code, "cannot be parsed" in refused.text) == (422, True)
    assert (
        client.post(f"/dashboard/jobs/{job}/delete", headers=headers).status_code == 303
    )
    assert client.get(f"/jobs/{job}", headers=bearing(ann)).status_code == 404


def test_an_empty_list_has_a_command_for_this_service(guarded):
    page = guarded().get("/", headers=cookie(token("ann"))).text
    assert "CONVPRESS_KEY" in page
    assert "-F model=@model.onnx http://localhost/jobs" in page


def test_a_form_that_was_sent_without_javascript_leads_to_the_job(guarded):
    client = guarded()
    headers = cookie(token("ann")) | OWN
    empty = {
        "calibration": "",
        "input_shape": "",
        "input_range": "",
        "input_mean": "",
        "labels": "",
    }
    sent = {
        "data": FORM["data"] | empty,
        "files": {**FORM["files"], "samples": ("", b"")},
    }
    answer = client.post("/jobs", **sent, headers=headers)
    assert (
        answer.status_code,
        answer.headers["location"].startswith("/dashboard/jobs/"),
    ) == (
        303,
        True,
    ), answer.text
    assert client.get(answer.headers["location"], headers=headers).status_code == 200
    unchosen = client.post(
        "/jobs", data=FORM["data"], files={"model": ("", b"")}, headers=headers
    )
    assert (unchosen.status_code, "the form has no model" in unchosen.text) == (
        422,
        True,
    )


def test_repeating_counts_against_the_quota(guarded):
    client = guarded(owner_unfinished_jobs="1")
    ann = token("ann")
    job = post(client, ann).json()["id"]
    assert (
        client.post(
            f"/dashboard/jobs/{job}/again", headers=cookie(ann) | OWN
        ).status_code
        == 429
    )


@pytest.mark.parametrize(
    ("search", "filenames"),
    [
        ("RES", True),
        ("a" * 7, True),
        ("team=vision", True),
        ("team=vis", False),
        ("%", False),
        ("a'\"b=c", False),
    ],
)
def test_jobs_are_searched(session, search, filenames):
    from app.db.models import Model

    at = commands.now(session)
    session.add(
        Model(sha256="a" * 64, format="onnx", bytes=3, created_at=at, used_at=at)
    )
    session.flush()
    job = Job(
        created_at=at,
        model_sha256="a" * 64,
        filename="resnet.onnx",
        flops_budget="0.5",
        labels={"team": "vision"},
    )
    session.add(job)
    session.flush()
    for text, expected in ((search, filenames), (str(job.id), True)):
        filters = queries.Filter(search=text)
        assert bool(queries.page(session, filters, 5, None)[0]) is expected
        assert queries.count(session, filters)["queued"] == int(expected)


def test_a_job_with_samples_is_repeated_while_they_are_kept(client):
    job = client.post("/jobs", **FORM).json()["id"]
    with transaction() as session:
        at = commands.now(session)
        kept = commands.get(session, job)
        kept.samples_sha256 = "b" * 64
        kept.calibration = "samples"
        session.add(Samples(sha256="b" * 64, bytes=1, created_at=at, used_at=at))
    headers = HTML | OWN
    again = (
        client.post(f"/dashboard/jobs/{job}/again", headers=headers)
        .headers["location"]
        .removeprefix("/dashboard")
    )
    assert client.get(again).json()["samples_sha256"] == "b" * 64
    with transaction() as session:
        session.get_one(Samples, "b" * 64).expired_at = at
    assert (
        client.post(f"/dashboard/jobs/{job}/again", headers=headers).status_code
        == PROBLEM_TYPES["samples_gone"].status
    )


def test_a_job_with_an_evaluation_is_repeated_while_it_is_kept(client):
    job = client.post("/jobs", **FORM).json()["id"]
    with transaction() as session:
        at = commands.now(session)
        kept = commands.get(session, job)
        kept.evaluation_sha256 = "e" * 64
        kept.evaluation_metric = "top-1"
        session.add(Evaluation(sha256="e" * 64, bytes=1, created_at=at, used_at=at))
    url = f"/dashboard/jobs/{job}/again"
    page = client.post(url, headers=HTML | OWN).headers["location"]
    again = client.get(page.removeprefix("/dashboard")).json()
    assert (again["evaluation_sha256"], again["evaluation_metric"]) == (
        "e" * 64,
        "top-1",
    )
    assert "evaluation=@evaluation.npz" in client.get(page, headers=HTML).text
    with transaction() as session:
        session.get_one(Evaluation, "e" * 64).expired_at = at
    refused = client.post(url, headers=HTML | OWN)
    assert refused.status_code == PROBLEM_TYPES["evaluation_gone"].status


@pytest.mark.parametrize(
    ("asked", "again", "budgets"),
    [
        ({}, {"flops_budget": "40%"}, ("40%", None, None)),
        ({"bytes_budget": "2MB"}, {"flops_budget": "40%"}, ("40%", None, "2MB")),
        (
            {"flops_budget": "", "params_budget": "60%"},
            {"flops_budget": "40%"},
            ("40%", None, None),
        ),
        (
            {"flops_budget": "", "params_budget": "60%"},
            {"params_budget": "50%"},
            (None, "50%", None),
        ),
        ({"params_budget": "60%"}, {}, ("0.5", "60%", None)),
        # a largest loss and a budget of FLOPs stand for each other
        (
            {"flops_budget": "", "max_loss": "1%"},
            {"flops_budget": "40%"},
            ("40%", None, None),
        ),
        ({"bytes_budget": "2MB"}, {"max_loss": "1%"}, (None, None, "2MB")),
    ],
)
def test_another_budget_stands_in_the_place_of_its_own_kind_and_flops_of_all_that_stood_alone(
    client, asked, again, budgets
):
    job = client.post("/jobs", **(FORM | {"data": FORM["data"] | asked})).json()["id"]
    page = client.post(
        f"/dashboard/jobs/{job}/again", headers=HTML | OWN, data=again
    ).headers["location"]
    created = client.get(page.removeprefix("/dashboard")).json()
    assert (
        created["flops_budget"],
        created["params_budget"],
        created["bytes_budget"],
    ) == budgets
    assert created["max_loss"] == again.get("max_loss")


def test_a_refused_incomplete_account_can_be_allowed_on_the_page(client):
    job = client.post("/jobs", **FORM).json()
    problem = {
        "code": "account_incomplete",
        "detail": "the cost of acme::Mix is not known",
    }
    with transaction() as session:
        kept = commands.get(session, job["id"])
        kept.state, kept.error = "failed", problem
    page = client.get(f"/dashboard/jobs/{job['id']}", headers=HTML).text
    assert 'name="allow_incomplete_account"' in page
    again = client.post(
        f"/dashboard/jobs/{job['id']}/again",
        data={"allow_incomplete_account": "true"},
        headers=HTML | OWN,
        follow_redirects=False,
    )
    new = client.get(f"/jobs/{again.headers['location'].rpartition('/')[2]}").json()
    assert (job["allow_incomplete_account"], new["allow_incomplete_account"]) == (
        False,
        True,
    )
    assert new["flops_budget"] == job["flops_budget"]


def test_a_job_in_int8_needs_no_budget_and_says_so_on_its_pages(client):
    files = FORM["files"]
    job = client.post("/jobs", data={"precision": "int8"}, files=files).json()
    assert (job["precision"], job["flops_budget"]) == ("int8", None)
    assert client.post("/jobs", **FORM).json()["precision"] == "float"
    page = client.get(f"/dashboard/jobs/{job['id']}", headers=HTML).text
    assert "budget none" in page
    assert "precision int8" in page
    listed = client.get("/", headers=HTML).text
    assert '<select id="precision" name="precision"' in listed
    refused = client.post("/jobs", data={"precision": "int4"}, files=files)
    assert (refused.status_code, refused.json()["code"]) == (422, "precision_invalid")


def failed(client, **error):
    """Post a job, let it fail, and return the job's page and the list."""
    job = client.post("/jobs", **FORM).json()
    with transaction() as session:
        row = commands.get(session, job["id"])
        row.state, row.error = "failed", {"detail": "why", **error}
    return [
        client.get(path, headers=HTML).text
        for path in (f"/dashboard/jobs/{job['id']}", "/")
    ]


def test_a_form_is_filled_with_what_would_avoid_the_error(client):
    page, jobs = failed(
        client,
        code="budget_unreachable",
        field="flops_budget",
        expected="at least 0.0421, or 3436 FLOPs",
    )
    assert 'name="flops_budget" value="0.043"' in page
    assert "Filled in: flops_budget 0.043" in page
    assert "/again" not in jobs


def test_no_retry_is_offered_where_nothing_can_change(client):
    page, jobs = failed(client, code="model_invalid")
    assert "/again" not in page + jobs
    assert "The same file would fail again" in page


def test_a_fault_of_the_service_may_pass(client):
    page, jobs = failed(client, code="worker_lost")
    assert ">Retry<" in page
    assert ">Retry<" in jobs
    assert ">Try again<" in page
