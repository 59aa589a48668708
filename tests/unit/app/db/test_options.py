"""Options survive the way into the columns of a job and back."""

from types import SimpleNamespace

import pytest

from app.db.options import columns_of, options_of
from convpress.budgets import KINDS
from convpress.options import JobOptions

CASES = {
    "none": JobOptions({}),
    "budgets": JobOptions({"flops_budget": "0.5", "bytes_budget": "2MB"}),
    "others": JobOptions(
        {"params_budget": "50%"}, flops_at_any_price=True, calibration="none", threads=2
    ),
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_a_row_has_the_options_that_were_written(options):
    columns = columns_of(options)
    assert set(KINDS) < columns.keys()
    assert "budgets" not in columns
    assert options_of(SimpleNamespace(**columns)) == options


def test_a_budget_that_was_not_asked_for_is_an_empty_column():
    columns = columns_of(JobOptions({"params_budget": "50%"}))
    assert (columns["params_budget"], columns["flops_budget"]) == ("50%", "")
