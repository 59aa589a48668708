"""Reports and inspections show every figure, and a model's own text as text."""

import json

from support.service import fake_engine
from support.service.rendering import HOSTILE, report, shown

from convpress.report import Report
from worker.cli import render
from worker.sandbox.account_parser import read


def test_before_and_after_are_shown_with_what_is_kept():
    text = shown(render.summary(report()))
    [macs] = [line for line in text.splitlines() if "MACs" in line]
    assert " ".join(macs.split()) == "MACs 100 40 40.0 %"
    assert "1.5 ms" in text


BUSY = {
    **fake_engine.TIMING,
    "busy": True,
    "note": "the host was busy\x07",
    "before": {**fake_engine.TIMES, "clock": None},
    "after": {**fake_engine.TIMES, "clock": None},
}


def lines_of(timing):
    timed = read(Report, json.dumps({**fake_engine.REPORT, "timing": timing}).encode())
    return [
        " ".join(line.split()) for line in shown(render.account(timed)).splitlines()
    ]


def test_times_are_shown_with_their_quartiles_and_their_method():
    lines = lines_of(fake_engine.TIMING)
    assert "latency 1.5 ms (1.4 to 1.6) 1.5 ms (1.4 to 1.6)" in lines
    assert "processor time 1.5 ms (1.4 to 1.6) 1.2 ms (1.4 to 1.6) 80.0 %" in lines
    method = "15 and 15 runs in turn, on 1 thread of onnxruntime 1.22.0"
    assert f"times: medians and quartiles of {method}" in lines


def test_no_time_by_the_clock_is_shown_of_a_busy_host():
    lines = lines_of(BUSY)
    assert "latency host busy host busy" in lines
    assert "processor time 1.5 ms (1.4 to 1.6) 1.5 ms (1.4 to 1.6) 100 %" in lines
    assert "no times by the clock: the host was busy?" in lines


def test_a_report_without_a_method_of_timing_shows_its_latency_alone():
    lines = lines_of(None)
    assert "latency 1.5 ms 1.5 ms" in lines
    assert not any("processor time" in line for line in lines)


def test_the_account_ends_with_the_risk_which_cannot_write_to_the_terminal():
    risky = {**fake_engine.REPORT, "risk": {"level": "high", "text": HOSTILE}}
    text = shown(render.account(read(Report, json.dumps(risky).encode())))
    assert (
        text.index("conv1")
        < text.index("FLOPs")
        < text.index("risk high: [red]conv[/red]?]0;title??")
    )
    assert "\x07" not in text


def test_the_metric_of_the_user_and_what_was_tried_come_first():
    members = fake_engine.REPORT | {
        "evaluation": {
            "metric": "top-1",
            "before": 0.8,
            "after": 0.79,
            "loss": 0.01,
            "count": 400,
        },
        "budget": {"promise": "max_loss=1%", "flops_budget": "43%"},
        "tried": [
            {"budget": "24%", "keep": None, "metric": "top-1", "kept": False},
            {
                "budget": "43%",
                "keep": 0.4296,
                "metric": "top-1",
                "figure": 0.79,
                "loss": 0.01,
                "kept": True,
            },
        ],
    }
    lines = shown(render.account(Report.model_validate(members))).splitlines()
    assert lines[0].rstrip() == "top-1: 80.00 % before, 79.00 % after, on 400 samples"
    assert "max_loss=1%, by the top-1" in lines[1]
    rows = [line.split() for line in lines[2:8]]
    assert ["24%", "unreachable", "not", "kept"] in rows
    assert ["43%", "43.0", "%", "79.00", "%", "1.00", "%", "kept"] in rows


def test_a_remark_on_the_budget_comes_first():
    budget = {"flops_budget": "9T", "note": "nothing was compressed"}
    text = shown(
        render.account(
            read(Report, json.dumps({**fake_engine.REPORT, "budget": budget}).encode())
        )
    )
    assert text.lstrip().startswith("WARNING: nothing was compressed")
    assert "WARNING" not in shown(render.account(report()))
