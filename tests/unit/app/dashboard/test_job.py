"""The page of a job: the way to its end, and what its figures are called."""

import io
import json
from datetime import timedelta
from functools import partial

import numpy as np
import pytest
from support.service import fake_engine
from support.service.callers import FORM, HTML, cookie, post, token

from app.dashboard.job import frontier
from app.db.session import now, transaction
from app.jobs import commands
from app.storage import artifact_key, get_storage
from convpress import risk_levels
from convpress.report import Report
from worker.jobs import results

GROUPS = [
    {"name": "0 to 1", "runs": 4, "relative_error": 0.02, "agreement": 0.9},
    {"name": "0 to 255", "runs": 4, "relative_error": 0.31, "agreement": None},
]


def test_a_queued_job_says_how_many_of_all_owners_wait_before_it(guarded):
    client = guarded()
    jobs = [post(client, token(owner)).json() for owner in ("bob", "ann", "ann")]
    key = token("ann")
    pages = [
        client.get(f"/dashboard/jobs/{job['id']}", headers=cookie(key)).text
        for job in jobs[1:]
    ]
    assert "1 job of this service waits before it" in pages[0]
    assert "2 jobs of this service wait before it" in pages[1]
    with transaction() as session:
        commands.cancel(session, jobs[0]["id"])
    first = client.get(f"/dashboard/jobs/{jobs[1]['id']}", headers=cookie(key)).text
    assert "It is the next one" in first


def test_a_running_job_shows_its_phases(client):
    job = client.post("/jobs", **FORM).json()["id"]
    with transaction() as session:
        row = commands.get(session, job)
        row.state, row.phase, row.progress = "running", "factoring", 0.5
        row.started_at, row.eta_seconds = now(session) - timedelta(seconds=120), 120.0
    page = client.get(f"/dashboard/jobs/{job}", headers=HTML).text
    assert 'data-phase="measuring" class="done"' in page
    assert 'data-phase="factoring" aria-current="step"' in page
    assert 'data-phase="storing" >' in page
    assert 'about <span class="about">2 min</span> left' in page


def test_labels_and_note_are_edited_on_the_page(client):
    job = client.post("/jobs", **FORM).json()["id"]
    form = {"labels": "team=vision, run=2", "note": "first\r\nsecond <b>"}
    saved = client.post(
        f"/dashboard/jobs/{job}/annotate", data=form, follow_redirects=False
    )
    assert saved.status_code == 303
    page = client.get(f"/dashboard/jobs/{job}", headers=HTML).text
    assert 'value="team=vision, run=2"' in page
    assert "first\nsecond &lt;b&gt;" in page
    assert "queued: accepted" in page
    refused = client.post(
        f"/dashboard/jobs/{job}/annotate", data={"labels": "no"}, headers=HTML
    )
    assert refused.status_code == 422
    assert client.get(f"/jobs/{job}").json()["labels"] == {"team": "vision", "run": "2"}


def test_several_budgets_again_make_a_job_for_each(client):
    job = client.post("/jobs", **FORM).json()
    again = partial(
        client.post, f"/dashboard/jobs/{job['id']}/again", follow_redirects=False
    )
    answer = again(data={"flops_budget": "70%, 30%"})
    assert answer.headers["Location"] == f"/?q={job['model']['sha256']}"
    budgets = [each["flops_budget"] for each in client.get("/jobs").json()["jobs"]]
    assert sorted(budgets) == ["0.5", "30%", "70%"]
    refused = again(
        data={"flops_budget": "70%, 30%", "params_budget": "0.5, 0.4"}, headers=HTML
    )
    assert refused.status_code == 422
    assert "only one field may have several budgets" in refused.text
    assert (
        again(data={"flops_budget": "40%"})
        .headers["Location"]
        .startswith("/dashboard/jobs/")
    )
    assert len(client.get("/jobs").json()["jobs"]) == 4


def test_measured_and_predicted_errors_are_told_apart():
    report = Report.model_validate(fake_engine.REPORT | {"predicted_error": 0.04})
    marks = frontier(report).marks
    assert [(mark.name, mark.measured) for mark in marks] == [
        ("predicted 20.0 %", False),
        ("measured 1.0 %", True),
    ]
    unmeasured = fake_engine.REPORT["verification"] | {"relative_error": None}
    report = Report.model_validate(fake_engine.REPORT | {"verification": unmeasured})
    assert [mark.measured for mark in frontier(report).marks] == [False]


def shown(client, report):
    """Return the id and the page of a job with this report."""
    job = client.post("/jobs", **FORM).json()["id"]
    with transaction() as session:
        row = commands.get(session, job)
        row.state, row.artifact_sha256, row.artifact_bytes = "succeeded", "a" * 64, 50
        key_of = partial(artifact_key, row.id)
        content = json.dumps(report).encode()
        row.report_sha256, _ = results.keep(get_storage(), iter([content]), key_of)
    page = client.get(f"/dashboard/jobs/{job}", headers=HTML).text
    return job, page


def test_a_result_shows_thresholds_ranges_latency_and_versions(client):
    latency = {
        "predicted_before_ms": 3.5,
        "predicted_after_ms": 1.25,
        "unpriced_sites": 2,
        "runtime": "ONNX Runtime 1.30",
        "host": "a host",
        "table_sha256": "c" * 64,
    }
    report = fake_engine.REPORT | {
        "verification": fake_engine.REPORT["verification"] | {"groups": GROUPS},
        "latency": latency,
        "engine": {"versions": {"onnxruntime": "1.30.0"}, "seconds": {}},
    }
    job, page = shown(client, report)
    for threshold in (*risk_levels.MEASURED, *risk_levels.PREDICTED):
        assert f"up to {100 * threshold:.1f} %" in page
    for text in (
        "0 to 255",
        "31.0 %",
        "1.25 ms",
        "ONNX Runtime 1.30",
        "onnxruntime 1.30.0",
        '1.5 ms<span class="under">1.4 ms to 1.6 ms',
        "runs, in turn, on 1 thread",
    ):
        assert text in page
    assert "without a price for 2 layers" in page
    assert f'<code id="job-id">{job}</code>' in page


@pytest.mark.parametrize(
    ("outputs", "whose"),
    [(["y"], "the outputs"), (["box", "score"], "the worst output")],
    ids=["one", "two"],
)
def test_of_several_outputs_the_measured_error_is_said_to_be_the_worst_ones(
    client, outputs, whose
):
    verification = fake_engine.REPORT["verification"] | {"outputs": outputs}
    _, page = shown(client, fake_engine.REPORT | {"verification": verification})
    assert f"of {whose}\N{RIGHT SINGLE QUOTATION MARK}" in page


def test_operations_in_int8_stand_beside_the_flops(client):
    after = fake_engine.REPORT["after"] | {"integer_operations": 14_205_888}
    _, page = shown(client, fake_engine.REPORT | {"after": after})
    assert "14.2 M of them in int8" in page
    _, page = shown(client, fake_engine.REPORT)
    assert "of them in int8" not in page


def test_the_level_of_a_classifier_is_shown_by_its_expected_loss(client):
    loss = {"expected": 0.031, "low": 0.011, "high": 0.072}
    risk = fake_engine.REPORT["risk"] | {"expected_loss": loss}
    _, page = shown(client, fake_engine.REPORT | {"risk": risk})
    assert "3.1 % (1.1 % to 7.2 %)" in page
    assert "all of the band up to 5.0 %" in page
    assert "all of it from 5.0 %" in page
    assert 'Measured error</th><td class="number">' not in page


def test_the_metric_of_the_user_is_the_first_figure_and_what_was_tried_follows(client):
    figures = {
        "metric": "psnr",
        "before": 30.412,
        "after": 30.0,
        "loss": 0.412,
        "count": 12,
    }
    tried = [
        {"budget": "24%", "keep": None, "metric": "psnr", "kept": False},
        {"budget": "43%", "keep": 0.42, "metric": "psnr", "figure": 30.0, "kept": True},
    ]
    report = fake_engine.REPORT | {
        "evaluation": figures,
        "tried": tried,
        "budget": {"promise": "max_loss=0.5dB", "flops_budget": "43%"},
    }
    data = {"max_loss": "0.5dB", "evaluation_metric": "psnr"}
    targets = io.BytesIO()
    np.savez(targets, x=np.zeros((2, 3)), targets=np.zeros((2, 3)))
    files = {**FORM["files"], "evaluation": ("evaluation.npz", targets.getvalue())}
    job = client.post("/jobs", data=data, files=files).json()["id"]
    with transaction() as session:
        row = commands.get(session, job)
        row.state, row.artifact_sha256, row.artifact_bytes = "succeeded", "a" * 64, 50
        row.macs_before, row.macs_after, row.evaluation = 100, 40, figures
        key_of = partial(artifact_key, row.id)
        content = json.dumps(report).encode()
        row.report_sha256, _ = results.keep(get_storage(), iter([content]), key_of)
    page = client.get(f"/dashboard/jobs/{job}", headers=HTML).text
    glance = page[page.index('class="glance"') :]
    assert glance.index("<h2>PSNR</h2>") < glance.index("<h2>FLOPs</h2>")
    assert "30.00 dB" in glance
    assert "30.41 dB before, on your 12 samples" in glance
    assert "What was tried for max_loss=0.5dB" in page
    assert "unreachable" in page
    assert "budget loss 0.5dB" in page
    assert client.get(f"/jobs/{job}").json()["result"]["evaluation"] == figures | {
        "output": None
    }
