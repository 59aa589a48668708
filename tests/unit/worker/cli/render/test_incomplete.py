"""What an account leaves out is said above it."""

import json

from support.service import fake_engine
from support.service.rendering import report, shown

from convpress.report import Report
from worker.cli import render
from worker.sandbox.account_parser import read

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


def test_layers_whose_rows_values_decide_are_named_first():
    sized = {"layers": [f"head_{number}" for number in range(12)], "text": "Values!"}
    members = {**fake_engine.REPORT, "sized_by_values": sized}
    account = read(Report, json.dumps(members).encode())
    text = " ".join(shown(render.account(account)).split())
    assert text.startswith("Values! head_0, head_1")
    assert "head_9 and 2 more" in text
    assert "Values!" not in shown(render.account(report()))


def test_an_incomplete_account_of_many_operators_names_some():
    many = {**INCOMPLETE, "unaccounted": [UNACCOUNTED] * 12}
    account = read(Report, json.dumps({**fake_engine.REPORT, **many}).encode())
    lines = shown(render.account(account)).splitlines()
    assert "12 operators" in lines[0]
    assert lines[11] == "  and 2 more"
