"""No report makes its reader slow or large: faults end it, and what it may hold is bounded."""

import json
import subprocess
import sys

import pytest
from support.service.fake_engine import COST, REPORT

from convpress.limits import Limits
from convpress.report import Inspection, Report
from worker.sandbox import account_parser
from worker.sandbox.account_parser import largest_bytes, read
from worker.sandbox.messages import MalformedOutput

SITE = REPORT["sites"][0]
MANY = 300_000


def report(**members):
    return json.dumps({**REPORT, **members}, separators=(",", ":")).encode()


START = report(sites=[]).replace(b'"sites":[]', b'"sites":[%s]')
HOSTILE = {
    "wrong sites": lambda: START % b",".join([b"{}"] * MANY),
    "sites that are numbers": lambda: START % b",".join([b"0"] * MANY),
    "sites within sites": lambda: START % b",".join([b"[[]]"] * MANY),
    "wrong sizes": lambda: report(sites=[{**SITE, "weight_shape": ["x"] * MANY}]),
    "wrong layers": lambda: report(sites=[{**SITE, "layers": [["x"]] * MANY}]),
    "wrong ranks": lambda: report(sites=[{**SITE, "rank": [-1] * MANY}]),
    "wrong points": lambda: report(frontier=[{}] * MANY),
    "wrong counts": lambda: report(
        uncounted={str(number): -1 for number in range(MANY)}
    ),
    "wrong budgets": lambda: report(budget={str(number): [] for number in range(MANY)}),
    "members that nobody knows": lambda: report(
        **{str(number): 0 for number in range(MANY)}
    ),
    "notes without end": lambda: report(
        calibration={"kind": "none", "notes": ["x"] * MANY}
    ),
    "wrong notes": lambda: report(calibration={"kind": "none", "notes": [0] * MANY}),
    "a long name": lambda: report(sites=[{**SITE, "name": "x" * 1_000_000}]),
    "a long key": lambda: report(uncounted={"x" * 1_000_000: 1}),
    "lists of nothing": lambda: b"[" + b",".join([b"[]"] * 2_000_000) + b"]",
    "numbers": lambda: b"[" + b",".join([b"0"] * 4_000_000) + b"]",
    "sites beyond the limit": lambda: (
        START % b",".join([json.dumps(SITE).encode()] * 60_000)
    ),
    "the same member": lambda: b"{" + b",".join([b'"sites":[]'] * MANY) + b"}",
    "deep": lambda: b"[" * 900 + b"]" * 900,
}
"""Reports that a child may write; most are below a megabyte. They are made in the tests alone."""

MEASURE = """
import resource, time
from test_account_parser import HOSTILE
from convpress.report import Inspection, Report
from worker.sandbox.account_parser import read
from worker.sandbox.messages import MalformedOutput
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
contents = {name: make() for name, make in HOSTILE.items()}
before = peak()
slowest = 0.0
for name, content in contents.items():
    for kind in (Report, Inspection):
        began = time.process_time()
        try:
            read(kind, content)
        except MalformedOutput as error:
            assert len(str(error)) < 600, name
        else:
            raise AssertionError(f"{name} is read as {kind.__name__}")
        slowest = max(slowest, time.process_time() - began)
print(peak() - before, slowest)
"""


@pytest.mark.slow
def test_hostile_reports_are_refused_with_few_words_in_little_memory_and_time():
    folder = __file__.rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join([folder, *sys.path])},
    )
    assert done.returncode == 0, done.stderr
    megabytes, seconds = map(float, done.stdout.split())
    # 2,200 MB and 31 s for the first of them, without the limits
    assert megabytes < 200
    assert seconds < 10


def test_the_largest_honest_report_is_read():
    limits = Limits(nodes=2000)
    name = "/a/long/scope/" * 8 + "Conv"
    site = {**SITE, "name": name, "reason": "the budget is met without factoring it"}
    content = json.dumps({**REPORT, "sites": [site] * limits.sites}, indent=1).encode()
    assert len(content) < largest_bytes(limits)
    assert len(read(Report, content, limits).sites) == 1000
    with pytest.raises(MalformedOutput, match="a list of 1001 values"):
        read(Report, report(sites=[SITE] * 1001), limits)


def test_the_limits_follow_the_limit_on_nodes():
    assert largest_bytes(Limits()) == 1024**2 + 640 * 50_000
    assert largest_bytes(Limits(nodes=1000)) == 1024**2 + 640 * 500


def test_an_inspection_is_read_in_the_same_way():
    members = {
        "format": "onnx",
        "inputs": [],
        "outputs": [],
        "parameters": 1,
        "bytes": 1,
    }
    members |= {"macs": 1, "uncounted": {}, "missing": None}
    site = {
        "name": "x",
        "op": "Conv",
        "weight_shape": [1],
        "macs": 1,
        "calls": 1,
        "reason": None,
    }
    assert (
        read(Inspection, json.dumps({**members, "sites": [site]}).encode())
        .sites[0]
        .calls
        == 1
    )
    with pytest.raises(MalformedOutput):
        read(Inspection, json.dumps({**members, "sites": [{}] * MANY}).encode())


def test_the_walk_ends_at_numbers():
    account_parser._require_bounded({"a": [1, 2.5, None, True]}, Limits())


def without(name):
    return {key: value for key, value in REPORT.items() if key != name}


BAD_REPORTS = {
    # Earlier versions give no times.
    **{f"no {name}": without(name) for name in REPORT if name != "timing"},
    "a list": [],
    "negative": {**REPORT, "before": {**COST, "macs": -1}},
    "too large for SQL": {**REPORT, "before": {**COST, "macs": 2**63}},
    "a number as text": {**REPORT, "keep": "0.4"},
    "a site without a name": {
        **REPORT,
        "sites": [{**REPORT["sites"][0], "name": None}],
    },
    "not a number": {**REPORT, "keep": float("nan")},
    "not a number, deep inside": {
        **REPORT,
        "verification": {**REPORT["verification"], "relative_error": float("inf")},
    },
    "runs below zero": {
        **REPORT,
        "verification": {**REPORT["verification"], "runs": -1},
    },
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
    "content",
    [b"", b"\xff", b"[" * 100_000, b"1" * 10_000, json.dumps(REPORT).encode("utf-16")],
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
