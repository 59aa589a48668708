"""The documentation says what the code does: every problem, every field of the report."""

import re
from pathlib import Path

from support.fake_engine import REPORT

from app.errors import PROBLEM_TYPES
from app.stats import prometheus
from app.stats.queries import Jobs, Service
from convpress.refusal import Code

DOCS = Path(__file__).parents[2] / "docs"
NO_JOBS = Jobs({}, None, {}, {})
NO_SERVICE = Service((), 0, 0, 0, {}, {}, 0.0, {}, {})
API = (DOCS / "api.md").read_text()


def test_every_problem_is_documented_as_it_is():
    rows = {line for line in API.splitlines() if line.startswith("| `")}
    for code, kind in PROBLEM_TYPES.items():
        assert f"| `{code}` | {kind.status} | {kind.title} |" in rows


def test_every_refusal_has_a_status():
    assert set(Code) <= set(PROBLEM_TYPES)


def test_every_field_of_the_report_is_documented():
    assert all(f"`{field}`" in API for field in REPORT)


def test_every_metric_is_documented():
    collected = prometheus.registry(NO_JOBS, NO_SERVICE, 0.0).collect()
    ending = {"counter": "_total", "info": "_info"}
    exposed = {metric.name + ending.get(metric.type, "") for metric in collected}
    documented = set(re.findall(r"`(convpress_\w+)`", (DOCS / "operations.md").read_text()))
    assert documented == exposed
