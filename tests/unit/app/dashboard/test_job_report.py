"""What pages show of a report: budgets, and other choices."""

import json

import pytest
from support.service.fake_engine import REPORT, TIMES, TIMING

from app.dashboard import job_report
from app.dashboard.formatting import capital
from app.dashboard.job import choices, frontier
from convpress.report import Report, time_kept
from worker.sandbox.account_parser import read


@pytest.mark.parametrize(
    ("budget", "field", "axis", "kept"),
    [
        (
            {"flops_budget": "50%", "bytes_budget": "1MB"},
            "flops_budget",
            "FLOPs kept",
            0.5,
        ),
        (
            {"params_budget": "60%", "parameters": 50},
            "params_budget",
            "Parameters kept",
            0.25,
        ),
        ({"bytes_budget": "60%"}, "bytes_budget", "File size kept", 0.4),
        ({"latency_budget": "2ms"}, "latency_budget", "Time kept", 0.8),
    ],
)
def test_other_budgets_are_of_the_kind_that_was_asked_for(
    client, budget, field, axis, kept
):
    costs = {
        "macs": 100,
        "flops": 200,
        "parameters": 40,
        "bytes": 1000,
        "latency_ms": 5.0,
    }
    after = {
        "macs": 50,
        "flops": 100,
        "parameters": 10,
        "bytes": 400,
        "latency_ms": 4.0,
    }
    point = {"macs": 50, "keep": 0.5, "latency_keep": None, "predicted_error": 0.04}
    points = [point | {"budget_keep": share} for share in (kept, 0.9)]
    report = REPORT | {
        "budget": budget | {"note": None},
        "before": costs,
        "after": after,
        "frontier": points,
        "timing": None,
    }
    parsed = read(Report, json.dumps(report | {"keep": 0.5, "latency": None}).encode())
    assert [choice.chosen for choice in choices(parsed)] == [True, False]
    assert choices(parsed)[1].budget == "0.9"
    assert job_report.kept(parsed) == kept
    assert job_report.kind(parsed).field == field
    assert f"{capital(frontier(parsed).quantity)} kept" == axis


def test_the_time_that_a_job_kept_is_the_processors_also_on_a_busy_host():
    processor = TIMES["processor"]
    busy = {
        "before": {
            "runs": 15,
            "processor": processor | {"median_ms": 4.0},
            "clock": None,
        },
        "after": {
            "runs": 15,
            "processor": processor | {"median_ms": 3.0},
            "clock": None,
        },
    }
    costs = REPORT["before"] | {"latency_ms": None}
    report = REPORT | {"before": costs, "after": costs, "timing": TIMING | busy}
    assert time_kept(read(Report, json.dumps(report).encode())) == 0.75
