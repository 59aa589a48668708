"""A row a layer: every figure, and a model's own names as text."""

import json

from support.service import fake_engine
from support.service.rendering import HOSTILE, report, shown

from convpress.report import Report
from worker.cli import render
from worker.cli.render.layer_tables import Notes
from worker.sandbox.account_parser import read


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


def test_names_cannot_write_to_the_terminal():
    text = shown(render.sites(report(name=HOSTILE)))
    assert "[red]conv[/red]?]0;title??" in text
    assert "\x07" not in text


def test_ranks_of_both_sides_and_int8_are_named():
    line = shown(render.sites(report(form="tucker2", rank=[4, 8], int8=True)))
    assert "tucker2 int8" in line
    assert "4x8" in line


def test_no_reason_has_no_note():
    notes = Notes()
    assert [notes.mark(reason) for reason in (None, "", "a", "b", "a")] == [
        "",
        "",
        "1",
        "2",
        "1",
    ]
    assert [str(line) for line in notes.lines()] == ["1: a", "2: b"]
