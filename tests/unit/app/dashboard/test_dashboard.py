"""The dashboard without a browser: who is let in by a cookie, what its queries find, and that it is
packaged.
"""

import json
from functools import partial

import pytest
from support import fake_engine
from support.callers import FORM, bearing, post, token

from app.dashboard import job_report, snippets
from app.dashboard.charts import Mark, tradeoff
from app.dashboard.formatting import capital
from app.dashboard.job import choices, frontier
from app.db.models import Job, Samples
from app.db.session import transaction
from app.errors import PROBLEM_TYPES
from app.jobs import commands, queries
from app.storage import artifact_key, get_storage
from convpress.report import Report
from worker.jobs import results
from worker.sandbox.account import read
from worker.sandbox.messages import MalformedOutput

HTML = {"Accept": "text/html"}
OWN = {"Origin": "http://localhost"}
PAGES = [
    "/",
    "/dashboard/jobs/{id}",
    "/dashboard/models/{sha256}",
    "/dashboard/compare?job={id}&job={id}",
    "/dashboard/system",
]


def cookie(answer):
    return HTML | {"Cookie": f"convpress_key={answer}"}


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_for_their_owners(guarded, path):
    client = guarded()
    ann, bob = token("ann"), token("bob")
    job = post(client, ann).json()
    path = path.format(id=job["id"], sha256=job["model"]["sha256"])
    stranger = client.get(path, headers=HTML)
    assert (stranger.status_code, stranger.headers["location"].partition("?")[0]) == (
        303,
        "/dashboard/sign-in",
    )
    shown, hidden = client.get(path, headers=cookie(ann)), client.get(path, headers=cookie(bob))
    assert shown.status_code == 200
    assert "net.onnx" in shown.text or path == "/dashboard/system"
    assert "net.onnx" not in hidden.text
    assert "default-src 'none'" in shown.headers["Content-Security-Policy"]
    assert "unsafe" not in shown.headers["Content-Security-Policy"]


@pytest.mark.parametrize("action", ["cancel", "delete", "again"])
def test_a_cookie_changes_nothing_from_elsewhere(guarded, action):
    client = guarded(cors_origins='["https://friend.example"]')
    ann = token("ann")
    job = post(client, ann).json()["id"]
    for headers in (
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "https://friend.example"},
    ):
        answer = client.post(f"/dashboard/jobs/{job}/{action}", headers=cookie(ann) | headers)
        assert answer.status_code == 403
    assert client.request("DELETE", f"/jobs/{job}", headers=cookie(ann)).status_code == 403
    assert client.get(f"/jobs/{job}", headers=bearing(ann)).json()["state"] == "queued"


def test_what_a_form_asks_for_is_done(guarded):
    client = guarded()
    ann = token("ann")
    job = post(client, ann).json()["id"]
    headers = cookie(ann) | OWN
    gone = client.post(
        f"/dashboard/jobs/{job}/cancel", data={"next": "//evil.example"}, headers=headers
    )
    assert (gone.status_code, gone.headers["location"]) == (303, "/")
    again = client.post(
        f"/dashboard/jobs/{job}/again", data={"flops_budget": "30%"}, headers=headers
    )
    job_again = client.get(
        again.headers["location"].removeprefix("/dashboard"), headers=bearing(ann)
    ).json()
    assert job_again["flops_budget"] == "30%"
    refused = client.post(
        f"/dashboard/jobs/{job}/again", data={"flops_budget": "7 apples"}, headers=headers
    )
    assert (refused.status_code, "cannot be parsed" in refused.text) == (422, True)
    assert client.post(f"/dashboard/jobs/{job}/delete", headers=headers).status_code == 303
    assert client.get(f"/jobs/{job}", headers=bearing(ann)).status_code == 404


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
    sent = {"data": FORM["data"] | empty, "files": {**FORM["files"], "samples": ("", b"")}}
    answer = client.post("/jobs", **sent, headers=headers)
    assert (answer.status_code, answer.headers["location"].startswith("/dashboard/jobs/")) == (
        303,
        True,
    ), answer.text
    assert client.get(answer.headers["location"], headers=headers).status_code == 200
    unchosen = client.post("/jobs", data=FORM["data"], files={"model": ("", b"")}, headers=headers)
    assert (unchosen.status_code, "the form has no model" in unchosen.text) == (422, True)


def test_repeating_counts_against_the_quota(guarded):
    client = guarded(owner_unfinished_jobs="1")
    ann = token("ann")
    job = post(client, ann).json()["id"]
    assert client.post(f"/dashboard/jobs/{job}/again", headers=cookie(ann) | OWN).status_code == 429


def test_signing_in_is_from_this_services_page_and_secure_over_tls(guarded):
    client = guarded()
    ann, poster = token("ann"), token("ann", "submit")
    form = {"key": ann, "next": "/dashboard/system"}
    assert (
        client.post(
            "/dashboard/sign-in", data=form, headers={"Origin": "https://evil.example"}
        ).status_code
        == 403
    )
    signed = client.post("/dashboard/sign-in", data=form, headers=OWN)
    assert (signed.status_code, signed.headers["location"]) == (303, "/dashboard/system")
    kept = signed.headers["set-cookie"].lower()
    assert "httponly" in kept
    assert "samesite=strict" in kept
    assert "secure" not in kept
    over_tls = client.post("https://localhost/dashboard/sign-in", data=form, headers=OWN)
    assert "secure" in over_tls.headers["set-cookie"].lower()
    assert client.post("/dashboard/sign-in", data={"key": poster}, headers=OWN).status_code == 403


def test_problems_are_pages_for_browsers_and_json_for_scripts(client):
    page, problem = client.get("/nowhere", headers=HTML), client.get("/nowhere")
    assert (page.status_code, problem.status_code) == (404, 404)
    assert page.headers["content-type"].startswith("text/html")
    assert problem.json()["code"] == "not_found"
    assert "&lt;b&gt;" in client.get("/jobs/<b>", headers=HTML).text


def test_without_keys_nobody_signs_in(client):
    assert client.get("/dashboard/sign-in").headers["location"] == "/"
    client.post("/jobs", **FORM)
    assert "net.onnx" in client.get("/", headers=HTML).text


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
    session.add(Model(sha256="a" * 64, format="onnx", bytes=3, created_at=at, used_at=at))
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
        kept.samples_sha256, kept.calibration = "b" * 64, "samples"
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
    ],
)
def test_another_budget_stands_in_the_place_of_its_own_kind_and_flops_of_all_that_stood_alone(
    client, asked, again, budgets
):
    job = client.post("/jobs", **(FORM | {"data": FORM["data"] | asked})).json()["id"]
    page = client.post(f"/dashboard/jobs/{job}/again", headers=HTML | OWN, data=again).headers[
        "location"
    ]
    created = client.get(page.removeprefix("/dashboard")).json()
    assert (created["flops_budget"], created["params_budget"], created["bytes_budget"]) == budgets


def with_numbers(value, number):
    """Put one number wherever there is a number."""
    if isinstance(value, dict):
        return {name: with_numbers(each, number) for name, each in value.items()}
    if isinstance(value, list):
        return [with_numbers(each, number) for each in value]
    return number if isinstance(value, int | float) and not isinstance(value, bool) else value


REPORT = fake_engine.REPORT | {"engine": {"versions": {}, "seconds": {"loading": 0.3}}}
FREED = {**REPORT["sites"][0], "macs_before": 0}


@pytest.mark.parametrize(
    "report",
    [
        with_numbers(REPORT, 0),
        with_numbers(REPORT, 10**18),
        REPORT | {"sites": [FREED]},
        REPORT | {"frontier": []},
    ],
    ids=["nothing", "enormous", "a site that costs nothing", "no frontier"],
)
def test_every_valid_report_can_be_shown(client, report):
    """A hostile child writes what it likes; the pages show what makes no sense."""
    content = json.dumps(report).encode()
    read(Report, content)
    form = FORM | {"data": FORM["data"] | {"flops_budget": "", "params_budget": "60%"}}
    job = client.post("/jobs", **form).json()
    with transaction() as session:
        kept = commands.get(session, job["id"])
        kept.state, kept.artifact_sha256, kept.artifact_bytes = "succeeded", "a" * 64, 50
        key_of = partial(artifact_key, kept.id)
        kept.report_sha256, _ = results.keep(get_storage(), iter([content]), key_of)
    for path in PAGES:
        shown = client.get(path.format(id=job["id"], sha256=job["model"]["sha256"]), headers=HTML)
        assert shown.status_code == 200, shown.text
        assert path == "/dashboard/system" or "parameters 60%" in shown.text
        assert "compare" not in path or "net.onnx, parameters 60%" in shown.text
    page = client.get(f"/dashboard/jobs/{job['id']}?sort=saved", headers=HTML)
    assert "Other budgets" in page.text
    assert 'name="flops_budget" value=""' not in page.text


def test_an_incomplete_account_is_said_above_all_figures(client):
    mixed = {"name": "fused", "operator": "acme::Mix", "reason": "there is no rule"}
    incomplete = REPORT | {"account_complete": False, "unaccounted": [mixed]}
    job = client.post("/jobs", **FORM).json()
    with transaction() as session:
        kept = commands.get(session, job["id"])
        kept.state, kept.artifact_sha256, kept.artifact_bytes = "succeeded", "a" * 64, 50
        kept.macs_before, kept.macs_after, kept.unaccounted = 100, 40, [mixed]
        key_of = partial(artifact_key, kept.id)
        content = json.dumps(incomplete).encode()
        kept.report_sha256, _ = results.keep(get_storage(), iter([content]), key_of)
    page = client.get(f"/dashboard/jobs/{job['id']}", headers=HTML).text
    assert page.index("The account is incomplete") < page.index("At a glance")
    assert "there is no rule" in page
    both = client.get(f"/dashboard/compare?job={job['id']}&job={job['id']}", headers=HTML).text
    assert both.index("is incomplete") < both.index("At a glance")
    result = client.get(f"/jobs/{job['id']}").json()["result"]
    assert (result["account_complete"], result["unaccounted"]) == (False, [mixed])


def test_a_refused_incomplete_account_can_be_allowed_on_the_page(client):
    job = client.post("/jobs", **FORM).json()
    problem = {"code": "account_incomplete", "detail": "the cost of acme::Mix is not known"}
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
    assert (job["allow_incomplete_account"], new["allow_incomplete_account"]) == (False, True)
    assert new["flops_budget"] == job["flops_budget"]


@pytest.mark.parametrize(
    ("budget", "field", "axis", "kept"),
    [
        ({"flops_budget": "50%", "bytes_budget": "1MB"}, "flops_budget", "FLOPs kept", 0.5),
        ({"params_budget": "60%", "parameters": 50}, "params_budget", "Parameters kept", 0.25),
        ({"bytes_budget": "60%"}, "bytes_budget", "File size kept", 0.4),
        ({"latency_budget": "2ms"}, "latency_budget", "Time kept", 0.8),
    ],
)
def test_other_budgets_are_of_the_kind_that_was_asked_for(client, budget, field, axis, kept):
    costs = {"macs": 100, "flops": 200, "parameters": 40, "bytes": 1000, "latency_ms": 5.0}
    after = {"macs": 50, "flops": 100, "parameters": 10, "bytes": 400, "latency_ms": 4.0}
    point = {"macs": 50, "keep": 0.5, "latency_keep": None, "predicted_error": 0.04}
    points = [point | {"budget_keep": share} for share in (kept, 0.9)]
    report = REPORT | {
        "budget": budget | {"note": None},
        "before": costs,
        "after": after,
        "frontier": points,
    }
    parsed = read(Report, json.dumps(report | {"keep": 0.5, "latency": None}).encode())
    assert [choice.chosen for choice in choices(parsed)] == [True, False]
    assert (choices(parsed)[1].budget, job_report.kept(parsed)) == ("0.9", kept)
    assert job_report.kind(parsed).field == field
    assert f"{capital(frontier(parsed).quantity)} kept" == axis


@pytest.mark.parametrize("number", [-1, 10**19])
def test_a_report_of_impossible_numbers_is_refused(number):
    report = REPORT | {"predicted_error": number}
    with pytest.raises(MalformedOutput, match="predicted_error"):
        read(Report, json.dumps(report).encode())


def test_commands_quote_what_a_shell_would_take_for_its_own(settings):
    job = Job(
        filename="a;b'$(c).onnx",
        flops_budget="0.5",
        calibration="none",
        labels={"x": "$(rm)"},
        input_shape=None,
    )
    curl = snippets.commands(job, "http://here")["curl"]
    assert "--form-string 'labels=x=$(rm)'" in curl
    assert """'model=@"a;b'"'"'$(c).onnx"'""" in curl
    compile(snippets.commands(job, "http://here")["python"], "repeat", "exec")


def test_a_chart_stays_within_its_frame():
    chart = tradeoff([(0.02, 1.7), (0.5, 0.1), (1.0, 0.0)], [Mark(0.5, 2.5, "far off")])
    for dot in (*chart.dots, *chart.marks):
        assert chart.left <= dot.x <= chart.right
        assert chart.top <= dot.y <= chart.bottom
