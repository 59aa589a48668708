"""Pages without a browser: for whom they are, and that every valid report can be shown."""

import json
from functools import partial

import pytest
from support.service import fake_engine
from support.service.callers import FORM, HTML, cookie, post, token

from app.db.session import transaction
from app.jobs import commands
from app.storage import artifact_key, get_storage
from convpress.report import Report
from worker.jobs import results
from worker.sandbox.account_parser import read

PAGES = [
    "/",
    "/dashboard/jobs/{id}",
    "/dashboard/models/{sha256}",
    "/dashboard/compare?job={id}&job={id}",
    "/dashboard/system",
]


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_for_their_owners(guarded, path):
    client = guarded()
    ann = token("ann")
    bob = token("bob")
    job = post(client, ann).json()
    path = path.format(id=job["id"], sha256=job["model"]["sha256"])
    stranger = client.get(path, headers=HTML)
    assert stranger.status_code == 303
    assert stranger.headers["location"].partition("?")[0] == "/dashboard/sign-in"
    shown = client.get(path, headers=cookie(ann))
    hidden = client.get(path, headers=cookie(bob))
    assert shown.status_code == 200
    assert "net.onnx" in shown.text or path == "/dashboard/system"
    assert "net.onnx" not in hidden.text
    assert "default-src 'none'" in shown.headers["Content-Security-Policy"]
    assert "unsafe" not in shown.headers["Content-Security-Policy"]


def test_problems_are_pages_for_browsers_and_json_for_scripts(client):
    page = client.get("/nowhere", headers=HTML)
    problem = client.get("/nowhere")
    assert page.status_code == 404
    assert problem.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert problem.json()["code"] == "not_found"
    assert "&lt;b&gt;" in client.get("/jobs/<b>", headers=HTML).text


def with_numbers(value, number):
    """Put one number wherever there is a number."""
    if isinstance(value, dict):
        return {name: with_numbers(each, number) for name, each in value.items()}
    if isinstance(value, list):
        return [with_numbers(each, number) for each in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return number if is_number else value


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
        kept.state = "succeeded"
        kept.artifact_sha256 = "a" * 64
        kept.artifact_bytes = 50
        key_of = partial(artifact_key, kept.id)
        kept.report_sha256, _ = results.keep(get_storage(), iter([content]), key_of)
    for path in PAGES:
        shown = client.get(
            path.format(id=job["id"], sha256=job["model"]["sha256"]), headers=HTML
        )
        assert shown.status_code == 200, shown.text
        assert path == "/dashboard/system" or "parameters 60%" in shown.text
        assert "compare" not in path or "net.onnx, parameters 60%" in shown.text
    page = client.get(f"/dashboard/jobs/{job['id']}?sort=saved", headers=HTML)
    assert "Other budgets" in page.text
    assert 'name="flops_budget" value=""' not in page.text


def test_a_budget_that_allows_all_of_a_model_is_a_warning_above_all_figures(client):
    budget = {"flops_budget": "9T", "note": "nothing was compressed: it allows <all>"}
    content = json.dumps(
        REPORT | {"budget": budget, "after": REPORT["before"]}
    ).encode()
    job = client.post("/jobs", **FORM).json()
    with transaction() as session:
        kept = commands.get(session, job["id"])
        kept.state, kept.artifact_sha256, kept.artifact_bytes = (
            "succeeded",
            "a" * 64,
            50,
        )
        key_of = partial(artifact_key, kept.id)
        kept.report_sha256, _ = results.keep(get_storage(), iter([content]), key_of)
    page = client.get(f"/dashboard/jobs/{job['id']}", headers=HTML).text
    assert page.index("Nothing was compressed</h2>") < page.index("At a glance")
    assert "it allows &lt;all&gt;" in page


def page_of(client, report):
    """Return the page of a job with this report."""
    job = client.post("/jobs", **FORM).json()
    with transaction() as session:
        kept = commands.get(session, job["id"])
        kept.state, kept.artifact_sha256, kept.artifact_bytes = (
            "succeeded",
            "a" * 64,
            50,
        )
        key_of = partial(artifact_key, kept.id)
        content = json.dumps(report).encode()
        kept.report_sha256, _ = results.keep(get_storage(), iter([content]), key_of)
    return client.get(f"/dashboard/jobs/{job['id']}", headers=HTML).text


def test_times_are_the_processors_and_the_clocks_unless_the_host_was_busy(client):
    page = page_of(client, REPORT)
    assert "1.5 ms → 1.2 ms of processor time; 1.5 ms → 1.5 ms by the clock" in page
    sides = {
        side: fake_engine.TIMING[side] | {"clock": None} for side in ("before", "after")
    }
    costs = REPORT["before"] | {"latency_ms": None}
    busy = (
        fake_engine.TIMING
        | sides
        | {"busy": True, "note": "the host was busy: waiting"}
    )
    page = page_of(client, REPORT | {"before": costs, "after": costs, "timing": busy})
    assert "of processor time; none by the clock: the host was busy: waiting" in page
    page = page_of(client, REPORT | {"timing": None})
    assert "1.5 ms → 1.5 ms</p>" in page


def test_a_quantised_model_is_named_above_all_figures(client):
    page = page_of(client, REPORT | {"restored": "The model is quantised: 2 weights"})
    assert page.index("The model is quantised") < page.index("At a glance")
    assert "Quantised model" not in page_of(client, REPORT)


def test_layers_whose_rows_values_decide_are_named_above_all_figures(client):
    sized = {"layers": [f"head_{number}" for number in range(12)], "text": "Values!"}
    page = page_of(client, REPORT | {"sized_by_values": sized})
    assert page.index("Values!") < page.index("At a glance")
    assert "head_9" in page
    assert "head_10" not in page
    assert "And 2 more" in page
    assert "Costs that depend on values" not in page_of(client, REPORT)


def test_an_incomplete_account_is_said_above_all_figures(client):
    mixed = {"name": "fused", "operator": "acme::Mix", "reason": "there is no rule"}
    incomplete = REPORT | {"account_complete": False, "unaccounted": [mixed]}
    job = client.post("/jobs", **FORM).json()
    with transaction() as session:
        kept = commands.get(session, job["id"])
        kept.state, kept.artifact_sha256, kept.artifact_bytes = (
            "succeeded",
            "a" * 64,
            50,
        )
        kept.macs_before, kept.macs_after, kept.unaccounted = 100, 40, [mixed]
        key_of = partial(artifact_key, kept.id)
        content = json.dumps(incomplete).encode()
        kept.report_sha256, _ = results.keep(get_storage(), iter([content]), key_of)
    page = client.get(f"/dashboard/jobs/{job['id']}", headers=HTML).text
    assert page.index("The account is incomplete") < page.index("At a glance")
    assert "there is no rule" in page
    both = client.get(
        f"/dashboard/compare?job={job['id']}&job={job['id']}", headers=HTML
    ).text
    assert both.index("is incomplete") < both.index("At a glance")
    result = client.get(f"/jobs/{job['id']}").json()["result"]
    assert (result["account_complete"], result["unaccounted"]) == (False, [mixed])


def test_damaged_files_are_not_shown_as_what_the_job_made(client):
    job = client.post("/jobs", **FORM).json()
    with transaction() as session:
        kept = commands.get(session, job["id"])
        kept.state = "succeeded"
        kept.artifact_sha256 = "a" * 64
        kept.artifact_bytes = 50
        kept.artifact_damaged_at = kept.created_at
        key_of = partial(artifact_key, kept.id)
        content = json.dumps(REPORT).encode()
        kept.report_sha256, _ = results.keep(get_storage(), iter([content]), key_of)
    address = f"/dashboard/jobs/{job['id']}"
    assert "found damaged" in client.get(address, headers=HTML).text
    path = get_storage().root / artifact_key(kept.id, kept.report_sha256)
    path.write_bytes(content.replace(b"conv1", b"conv2"))
    page = client.get(address, headers=HTML)
    assert "conv2" not in page.text
    assert "The report cannot be shown here" in page.text
