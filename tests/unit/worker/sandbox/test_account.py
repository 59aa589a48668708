"""Reports, read without trust."""

import json

import pytest
from support.fake_engine import COST, REPORT

from convpress.report import Report
from worker.sandbox.account import read
from worker.sandbox.messages import MalformedOutput


def without(name):
    return {key: value for key, value in REPORT.items() if key != name}


BAD_REPORTS = {
    **{f"no {name}": without(name) for name in REPORT},
    "a list": [],
    "negative": {**REPORT, "before": {**COST, "macs": -1}},
    "too large for SQL": {**REPORT, "before": {**COST, "macs": 2**63}},
    "a number as text": {**REPORT, "keep": "0.4"},
    "a site without a name": {**REPORT, "sites": [{**REPORT["sites"][0], "name": None}]},
    "not a number": {**REPORT, "keep": float("nan")},
    "not a number, deep inside": {
        **REPORT,
        "verification": {**REPORT["verification"], "relative_error": float("inf")},
    },
    "runs below zero": {**REPORT, "verification": {**REPORT["verification"], "runs": -1}},
    "a calibration of no kind": {**REPORT, "calibration": {"images": 8}},
    "a held-out error in words": {
        **REPORT,
        "calibration": {"kind": "synthetic", "held_out_error": {"refitted": "0"}},
    },
    "a frontier without costs": {**REPORT, "frontier": [{"keep": 0.5}]},
}


@pytest.mark.parametrize("report", BAD_REPORTS.values(), ids=BAD_REPORTS)
def test_a_report_with_another_schema_is_refused(report):
    with pytest.raises(MalformedOutput):
        read(Report, json.dumps(report).encode())


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[" * 100_000, b"1" * 10_000, json.dumps(REPORT).encode("utf-16")]
)
def test_a_report_that_is_no_json_in_utf8_is_refused(content):
    with pytest.raises(MalformedOutput):
        read(Report, content)


def test_a_rank_may_have_two_numbers_and_a_site_none():
    site = {**REPORT["sites"][0], "rank": [2, 3]}
    left = {**site, "form": None, "rank": None, "error": None, "reason": "grouped"}
    report = read(Report, json.dumps({**REPORT, "sites": [site, left]}).encode())
    assert [each.rank for each in report.sites] == [[2, 3], None]


@pytest.mark.parametrize("number", [-1, 10**19])
def test_a_report_of_impossible_numbers_is_refused(number):
    report = REPORT | {"predicted_error": number}
    with pytest.raises(MalformedOutput, match="predicted_error"):
        read(Report, json.dumps(report).encode())
