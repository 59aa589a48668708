"""Figures as the pages show them, at the bounds of each unit."""

from datetime import UTC, datetime

import pytest

from app.dashboard import formatting


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ({}, "none"),
        ({"flops_budget": "50%"}, "50%"),
        ({"max_loss": "1%", "latency_budget": "2ms"}, "loss 1%, time 2ms"),
    ],
)
def test_budgets_are_one_line(texts, line):
    assert formatting.budgets(texts) == line


def test_a_largest_loss_has_a_label_of_its_own():
    assert formatting.budget_label("max_loss") == "Largest loss"
    assert formatting.budget_label("params_budget") == "Budget of parameters"


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (100, 100, "0 %"),
        (100, 99.6, "0 %"),
        (100, 99, "\N{MINUS SIGN}1 %"),
        (100, 101, "+1 %"),
        (1e-10, 1, ""),
    ],
)
def test_a_change_is_rounded_to_hundredths(before, after, text):
    assert formatting.change(before, after) == text


@pytest.mark.parametrize(
    ("spent", "text"),
    [
        (0, "0 ms"),
        (1, "1.0 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
    ],
)
def test_a_duration_changes_its_unit_at_the_bound(spent, text):
    assert formatting.seconds(spent) == text


def test_a_time_is_shown_in_utc():
    at = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
    assert formatting.utc(at) == "2026-05-04 03:02:01 UTC"


@pytest.mark.parametrize(("sizes", "text"), [([], ""), (0, "0"), ([7], "7")])
def test_a_shape_is_its_sizes(sizes, text):
    assert formatting.shape(sizes) == text


def test_the_templates_know_each_function_by_its_name():
    assert formatting.FILTERS["budgets"] is formatting.budgets
    assert formatting.FILTERS["percent"](0.5) == "50.0 %"
