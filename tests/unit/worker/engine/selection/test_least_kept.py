"""The bisection for the least percentage that keeps a promise."""

import pytest

from worker.engine.selection.least_kept import MILDEST, MOST_TRIES, least_kept


@pytest.mark.parametrize("least", [1, 2, 37, 50, 94, 95])
def test_bisection_finds_the_least_percentage_within_a_bounded_number_of_tries(least):
    tried = []

    def is_kept(percent):
        tried.append(percent)
        return percent >= least

    assert least_kept(is_kept) == least
    assert len(tried) <= MOST_TRIES


def test_the_mildest_budget_is_tried_before_the_search_gives_up():
    tried = []
    assert least_kept(lambda percent: bool(tried.append(percent))) is None
    assert tried[-1] == MILDEST
    assert len(tried) <= MOST_TRIES
