"""The documentation says what the code does: every problem, every field of the report."""

from pathlib import Path

from fake_engine import REPORT

from app.errors import KINDS
from contract.refusal import Code

API = (Path(__file__).parents[3] / "docs" / "api.md").read_text()


def test_every_problem_is_documented_as_it_is():
    rows = {line for line in API.splitlines() if line.startswith("| `")}
    for code, kind in KINDS.items():
        assert f"| `{code}` | {kind.status} | {kind.title} |" in rows


def test_every_refusal_has_a_status():
    assert set(Code) <= set(KINDS)


def test_every_field_of_the_report_is_documented():
    assert all(f"`{field}`" in API for field in REPORT)
