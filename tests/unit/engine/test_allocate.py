"""The allocation against brute force, and its promise never to spend more than the budget."""

from itertools import pairwise, product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.engine.allocate import BudgetUnreachableError, Option, allocate, lower_hull

options = st.lists(st.builds(Option, st.integers(0, 60), st.floats(0, 1)), min_size=1, max_size=5)
problems = st.tuples(st.lists(options, min_size=1, max_size=4), st.integers(0, 200))


def cost(sites, choice):
    return sum(options[i].cost for options, i in zip(sites, choice, strict=True))


def error(sites, choice):
    return sum(options[i].error for options, i in zip(sites, choice, strict=True))


def every_choice(sites, budget):
    choices = product(*(range(len(options)) for options in sites))
    return [choice for choice in choices if cost(sites, choice) <= budget]


@given(problems)
@example(([[Option(1, 0.9), Option(40, 0.0)], [Option(1, 0.8), Option(30, 0.0)]], 45))
def test_the_budget_is_never_exceeded_and_unreachable_exactly_where_nothing_fits(problem):
    sites, budget = problem
    fitting = every_choice(sites, budget)
    if not fitting:
        with pytest.raises(BudgetUnreachableError) as caught:
            allocate(sites, budget)
        assert caught.value.least == sum(min(options).cost for options in sites)
    else:
        assert cost(sites, allocate(sites, budget)) <= budget


@given(problems)
def test_no_single_change_that_still_fits_is_better(problem):
    sites, budget = problem
    if not every_choice(sites, budget):
        return
    chosen = allocate(sites, budget)
    for site, options in enumerate(sites):
        for index in range(len(options)):
            other = [*chosen[:site], index, *chosen[site + 1 :]]
            assert cost(sites, other) > budget or error(sites, other) >= error(sites, chosen) - 1e-12


@given(problems)
def test_the_error_is_within_one_step_of_the_hull_of_the_best(problem):
    """The Lagrangian bound: the greedy walk stops at most one hull segment short of the relaxed optimum."""
    sites, budget = problem
    fitting = every_choice(sites, budget)
    if not fitting:
        return
    best = min(error(sites, choice) for choice in fitting)
    steps = [
        options[a].error - options[b].error
        for options in sites
        for hull in [lower_hull(options)]
        for a, b in pairwise(hull)
    ]
    assert error(sites, allocate(sites, budget)) <= best + max(steps, default=0) + 1e-12


def test_a_budget_that_meets_a_vertex_of_the_hull_is_solved_exactly():
    sites = [[Option(100, 0.0), Option(40, 0.1), Option(10, 0.6)], [Option(50, 0.0), Option(20, 0.4)]]
    best = min((error(sites, choice), choice) for choice in every_choice(sites, 90))
    assert tuple(allocate(sites, 90)) == best[1]


def test_what_the_multiplier_leaves_is_spent():
    sites = [[Option(10, 0.5), Option(100, 0.0)], [Option(10, 0.1), Option(15, 0.09), Option(60, 0.0)]]
    assert allocate(sites, 26) == [0, 1]
