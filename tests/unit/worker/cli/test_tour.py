"""The tour's table has each figure before and after, and its change."""

import json

from rich.console import Console
from support.service import fake_engine

from convpress.report import Report
from worker.cli import tour
from worker.sandbox.account_parser import read


def rows(accuracy, **changes):
    report = read(Report, json.dumps({**fake_engine.REPORT, **changes}).encode())
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(tour.comparison(report, accuracy))
    lines = [line.split() for line in capture.get().splitlines() if line.strip()]
    return {line[0]: line[1:] for line in lines}


def cost(**figures):
    return {**fake_engine.REPORT["before"], **figures}


def test_accuracy_and_costs_stand_before_and_after():
    table = rows(
        tour.Accuracy(400, 390, 382),
        timing=None,
        before=cost(flops=2000, parameters=50, bytes=1024, latency_ms=0.2),
        after=cost(flops=1000, parameters=40, bytes=512, latency_ms=0.3),
    )
    assert table["accuracy"] == ["97.50", "%", "95.50", "%", "-2.00", "points"]
    assert table["FLOPs"][-2:] == ["-50.0", "%"]
    assert table["parameters"] == ["50", "40", "-20.0", "%"]
    assert table["file"][-2:] == ["-50.0", "%"]
    assert table["time"][-2:] == ["+50.0", "%"]


def test_nothing_is_claimed_that_was_not_measured():
    table = rows(
        None, timing=None, before=cost(latency_ms=None), after=cost(latency_ms=None)
    )
    assert "accuracy" not in table
    assert "time" not in table
    assert "not measured" in tour.accuracy_line(None)
    assert "390 and 382 of 400" in tour.accuracy_line(tour.Accuracy(400, 390, 382))


def test_addresses_and_commands_name_the_job():
    addresses = [address for address, _ in tour.clicks("http://h:1", "j", "m")]
    assert addresses[0] == "http://h:1/dashboard/jobs/j"
    assert "http://h:1/dashboard/models/m" in addresses
    assert tour.commands("http://h:1", "net.onnx", "j", "-F flops_budget=0.5")[0] == (
        "curl -s -F model=@net.onnx -F flops_budget=0.5 http://h:1/jobs"
    )
