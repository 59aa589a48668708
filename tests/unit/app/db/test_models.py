"""Times are in UTC on both sides of the database, and a job knows its budgets."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import sqlite

from app.db.models import Job, UtcDateTime

DIALECT = sqlite.dialect()
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
EAST = timezone(timedelta(hours=5))


def test_a_time_of_any_zone_is_stored_in_utc():
    stored = UtcDateTime().process_bind_param(NOON.astimezone(EAST), DIALECT)
    assert (stored, stored.tzinfo) == (NOON, UTC)
    assert UtcDateTime().process_bind_param(None, DIALECT) is None


@pytest.mark.parametrize("stored", [NOON.replace(tzinfo=None), NOON.astimezone(EAST)])
def test_a_time_with_or_without_a_zone_is_loaded_in_utc(stored):
    loaded = UtcDateTime().process_result_value(stored, DIALECT)
    assert (loaded, loaded.tzinfo) == (NOON, UTC)


def test_no_time_is_loaded_as_none():
    assert UtcDateTime().process_result_value(None, DIALECT) is None


@pytest.mark.parametrize(
    ("columns", "budgets"),
    [
        ({"flops_budget": "", "bytes_budget": "2MB"}, {"bytes_budget": "2MB"}),
        (
            {"max_loss": "1%", "params_budget": "50%"},
            {"max_loss": "1%", "params_budget": "50%"},
        ),
        ({}, {}),
    ],
)
def test_a_job_names_its_largest_loss_among_its_budgets(columns, budgets):
    assert Job(calibration="none", **columns).budgets == budgets
