"""Comparisons of any number of jobs: columns, order, and CSV."""

import csv
import io
import json
from functools import partial

import pytest
from support.service import fake_engine
from support.service.callers import FORM, HTML

from app.db.session import transaction
from app.jobs import commands
from app.storage import artifact_key, get_storage
from worker.jobs import results


def report(**members):
    return fake_engine.REPORT | members


def succeeded(client, filename="net.onnx", **members):
    """Return the id of a job that has succeeded with a report."""
    form = FORM | {"files": {"model": (filename, FORM["files"]["model"][1])}}
    job = client.post("/jobs", **form).json()
    content = json.dumps(report(**members)).encode()
    with transaction() as session:
        kept = commands.get(session, job["id"])
        kept.state, kept.artifact_sha256, kept.artifact_bytes = (
            "succeeded",
            "a" * 64,
            50,
        )
        key_of = partial(artifact_key, kept.id)
        kept.report_sha256, _ = results.keep(get_storage(), iter([content]), key_of)
    return job["id"]


def test_jobs_are_compared_in_chosen_columns_and_order(client):
    risks = ("high", "low", "unknown")
    ids = [
        succeeded(client, f"net{place}.onnx", risk={"level": level, "text": ""})
        for place, level in enumerate(risks)
    ]
    query = "&".join(f"job={each}" for each in ids)
    page = client.get(
        f"/dashboard/compare?{query}&column=risk&sort=risk", headers=HTML
    ).text
    assert "3 jobs side by side" in page
    table = page[page.index("<tbody>") : page.index("</tbody>")]
    order = sorted(range(3), key=lambda place: table.index(f"net{place}.onnx"))
    assert order == [1, 0, 2]
    assert "Parameters</a>" not in page
    assert "Layers of both jobs" not in page
    both = client.get(
        f"/dashboard/compare?job={ids[0]}&job={ids[1]}", headers=HTML
    ).text
    assert "Layers of both jobs" in both
    assert both.count('class="name-of-mark"') == 2


@pytest.mark.parametrize("number", [0, 51])
def test_a_comparison_of_no_jobs_or_too_many_is_refused(client, number):
    query = "&".join(["job=none"] * number)
    answer = client.get(f"/dashboard/compare?{query}")
    assert answer.status_code == 422
    assert answer.json()["expected"] == "?job=ID&job=ID"


def test_an_unknown_column_is_refused(client):
    job = succeeded(client)
    assert client.get(f"/dashboard/compare?job={job}&column=none").status_code == 422


def test_csv_has_exact_figures_and_runs_no_formula(client):
    job = succeeded(client, "=1+1;+2.onnx", keep=0.123456789)
    answer = client.get(f"/dashboard/compare.csv?job={job}&column=kept&column=measured")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows == [
        ["id", "filename", "budget", "kept", "measured"],
        [job, "'=1+1;'+2.onnx", "0.5", "0.123456789", "0.01"],
    ]


def test_the_latency_of_a_busy_host_is_that_of_the_processor(client):
    costs = fake_engine.COST | {"latency_ms": None}
    job_id = succeeded(client, before=costs, after=costs)
    content = client.get(
        f"/dashboard/compare.csv?job={job_id}&column=latency_before&column=latency"
    ).text
    _, row = csv.reader(io.StringIO(content))
    assert row[-2:] == ["1.5", "1.2"]
