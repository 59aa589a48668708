"""Reports and inspections show every figure, and a model's own text as text."""

import json

import pytest
from rich.console import Console
from support.service import fake_engine

from convpress.report import Inspection, Report
from worker.cli import render
from worker.sandbox.account import read

HOSTILE = "[red]conv[/red]\x1b]0;title\x07\n"


def shown(*parts, width=160):
    console = Console(width=width, force_terminal=True, color_system=None)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get()


def report(**site):
    changed = [{**fake_engine.REPORT["sites"][0], **site}]
    return read(Report, json.dumps({**fake_engine.REPORT, "sites": changed}).encode())


def test_a_factored_convolution_is_shown_with_its_rank_and_its_error():
    [line] = [
        line for line in shown(render.sites(report())).splitlines() if "conv1" in line
    ]
    assert " ".join(line.split()) == "conv1 8x3x3x3 dac 2 100 40 10.0 %"


def test_one_that_was_left_is_shown_with_the_reason():
    left = report(
        form="original", rank=None, macs_after=100, error=0.0, reason="it has groups"
    )
    assert "it has groups" in shown(render.sites(left))


def test_a_reason_of_many_layers_is_given_once():
    names = [f"features.stage{number}.block.conv" for number in range(5)]
    reasons = ["grouped", "too small", "grouped", None, "grouped"]
    left = [
        {**fake_engine.REPORT["sites"][0], "name": name, "form": None, "reason": reason}
        for name, reason in zip(names, reasons, strict=True)
    ]
    account = read(Report, json.dumps({**fake_engine.REPORT, "sites": left}).encode())
    lines = shown(render.sites(account)).splitlines()
    assert [line for line in lines if "grouped" in line] == ["1: grouped"]
    assert [line for line in lines if "too small" in line] == ["2: too small"]
    marks = [line.split()[-1] for line in lines if "conv" in line]
    assert marks == ["1", "2", "1", "%", "1"]


def test_a_table_of_layers_fits_80_columns_and_breaks_no_figure():
    wide = {
        "name": "backbone.features.stage4.block12.conv_pointwise_expand",
        "weight_shape": [2048, 1024, 3, 3],
        "form": "pointwise-first",
        "rank": [512, 256],
        "macs_before": 15_470_264_320,
        "macs_after": 7_123_456_789,
    }
    lines = shown(render.sites(report(**wide)), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    [line] = [line for line in lines if "15.5 G" in line]
    assert "7.12 G" in line
    assert "10.0 %" in line


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


UNACCOUNTED = {"name": "fused", "operator": "acme::Mix", "reason": "no rule\x07"}
INCOMPLETE = {"account_complete": False, "unaccounted": [UNACCOUNTED]}


def test_an_incomplete_account_says_so_first():
    account = read(Report, json.dumps({**fake_engine.REPORT, **INCOMPLETE}).encode())
    lines = shown(render.account(account)).splitlines()
    assert (
        lines[0]
        == "The account is INCOMPLETE: it leaves out 1 operator of unknown cost."
    )
    assert lines[1] == "  acme::Mix fused: no rule?"
    assert "INCOMPLETE" not in shown(render.account(report()))


def test_a_quantised_model_is_named_first():
    members = {**fake_engine.REPORT, "restored": "The model is quantised: 2 weights"}
    account = read(Report, json.dumps(members).encode())
    assert shown(render.account(account)).startswith("The model is quantised")
    assert "quantised" not in shown(render.account(report()))


def test_an_incomplete_account_of_many_operators_names_some():
    many = {**INCOMPLETE, "unaccounted": [UNACCOUNTED] * 12}
    account = read(Report, json.dumps({**fake_engine.REPORT, **many}).encode())
    lines = shown(render.account(account)).splitlines()
    assert "12 operators" in lines[0]
    assert lines[11] == "  and 2 more"


def test_names_cannot_write_to_the_terminal():
    text = shown(render.sites(report(name=HOSTILE)))
    assert "[red]conv[/red]?]0;title??" in text
    assert "\x07" not in text


INSPECTION = {
    "format": "onnx",
    "inputs": [{"name": "x", "dtype": "float32", "shape": None}],
    "outputs": [{"name": HOSTILE, "dtype": "float32", "shape": "1x10"}],
    "parameters": 10,
    "bytes": 50,
    "macs": 1_500_000,
    "sites": [
        {
            "name": "c",
            "op": "Conv",
            "weight_shape": [1, 1, 3, 3],
            "macs": 1_500_000,
            "calls": 3,
            "reason": "grouped",
        }
    ],
    "uncounted": {"Relu": 3},
    "missing": None,
}


@pytest.mark.parametrize(
    "change",
    [{}, {"macs": None, "sites": [], "uncounted": {}, "missing": "give a shape"}],
)
def test_an_inspection_is_shown_whether_its_costs_are_known_or_not(change):
    record = read(Inspection, json.dumps(INSPECTION | change).encode())
    text = shown(render.overview(record), render.inspection(record))
    assert "x: float32 of unknown shape" in text
    assert "\x07" not in text
    assert ("1.50 M" in text and "Relu 3" in text and "grouped" in text) == (not change)
