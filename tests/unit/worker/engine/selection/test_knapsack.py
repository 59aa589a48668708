"""The allocation against brute force, and its promise never to spend more than the budget."""

from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.engine.selection.knapsack import BudgetUnreachableError, Knapsack, Option


def option(cost, error):
    return Option((cost,), error)


def allocate(sites, budget):
    return Knapsack(sites).allocate([budget])


options = st.lists(
    st.builds(option, st.integers(0, 60), st.floats(0, 1)), min_size=1, max_size=5
)
problems = st.tuples(st.lists(options, min_size=1, max_size=4), st.integers(0, 200))


def cost(sites, choice, which=0):
    return sum(
        options[i].costs[which] for options, i in zip(sites, choice, strict=True)
    )


def error(sites, choice):
    return sum(options[i].error for options, i in zip(sites, choice, strict=True))


def every_choice(sites, budget):
    choices = product(*(range(len(options)) for options in sites))
    return [choice for choice in choices if cost(sites, choice) <= budget]


@given(problems)
@example(([[option(1, 0.9), option(40, 0.0)], [option(1, 0.8), option(30, 0.0)]], 45))
def test_the_budget_is_never_exceeded_and_unreachable_exactly_where_nothing_fits(
    problem,
):
    sites, budget = problem
    fitting = every_choice(sites, budget)
    if not fitting:
        with pytest.raises(BudgetUnreachableError) as caught:
            allocate(sites, budget)
        assert caught.value.least == sum(
            min(option.costs[0] for option in options) for options in sites
        )
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
            assert (
                cost(sites, other) > budget
                or error(sites, other) >= error(sites, chosen) - 1e-12
            )


@given(problems)
def test_the_error_is_within_one_step_of_the_hull_of_the_best(problem):
    """The Lagrangian bound: the greedy walk stops at most one step short of the relaxed optimum."""
    sites, budget = problem
    fitting = every_choice(sites, budget)
    if not fitting:
        return
    best = min(error(sites, choice) for choice in fitting)
    steps = [
        option.error - other.error
        for options in sites
        for option in options
        for other in options
    ]
    assert error(sites, allocate(sites, budget)) <= best + max(steps, default=0) + 1e-12


def test_a_budget_that_meets_a_vertex_of_the_hull_is_solved_exactly():
    sites = [
        [option(100, 0.0), option(40, 0.1), option(10, 0.6)],
        [option(50, 0.0), option(20, 0.4)],
    ]
    best = min((error(sites, choice), choice) for choice in every_choice(sites, 90))
    assert tuple(allocate(sites, 90)) == best[1]


def test_what_the_multiplier_leaves_is_spent():
    sites = [
        [option(10, 0.5), option(100, 0.0)],
        [option(10, 0.1), option(15, 0.09), option(60, 0.0)],
    ]
    assert allocate(sites, 26) == [0, 1]


pairs = st.lists(
    st.builds(
        lambda *costs: Option(costs[:2], costs[2]),
        st.integers(0, 60),
        st.integers(0, 60),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=5,
)
double_problems = st.tuples(
    st.lists(pairs, min_size=1, max_size=4),
    st.tuples(st.integers(0, 200), st.integers(0, 200)),
)


@given(double_problems)
def test_of_several_budgets_none_is_exceeded_and_no_single_change_that_fits_is_better(
    problem,
):
    sites, budgets = problem
    least = [
        sum(min(option.costs[which] for option in options) for options in sites)
        for which in (0, 1)
    ]
    short = [which for which in (0, 1) if least[which] > budgets[which]]
    if short:
        with pytest.raises(BudgetUnreachableError) as unreachable:
            Knapsack(sites).allocate(budgets)
        assert unreachable.value.which == short[0]
        assert unreachable.value.least == least[short[0]]
        return
    try:
        chosen = Knapsack(sites).allocate(budgets)
    except (
        BudgetUnreachableError
    ):  # where the two are at odds a choice may be missed, never a budget
        return

    def fits(choice):
        return all(cost(sites, choice, which) <= budgets[which] for which in (0, 1))

    assert fits(chosen)
    for site, options in enumerate(sites):
        for index in range(len(options)):
            other = [*chosen[:site], index, *chosen[site + 1 :]]
            assert (
                not fits(other) or error(sites, other) >= error(sites, chosen) - 1e-12
            )


def test_a_second_budget_is_met_by_other_sites_than_the_first_asks_for():
    """The one site is all arithmetic, the other all weights: each budget is for one of them."""
    arithmetic = [Option((100, 1), 0.0), Option((40, 1), 0.1)]
    weights = [Option((1, 100), 0.0), Option((1, 40), 0.1)]
    assert Knapsack([arithmetic, weights]).allocate([60, 1000]) == [1, 0]
    assert Knapsack([arithmetic, weights]).allocate([1000, 60]) == [0, 1]
    assert Knapsack([arithmetic, weights]).allocate([60, 60]) == [1, 1]


def test_budgets_that_are_met_only_one_at_a_time_are_refused_together():
    site = [Option((100, 1), 0.0), Option((1, 100), 0.0)]
    with pytest.raises(BudgetUnreachableError) as caught:
        Knapsack([site]).allocate([50, 50])
    assert caught.value.which is None


@given(double_problems)
def test_a_choice_within_a_limit_keeps_the_budget_too_and_no_change_that_fits_is_better(
    problem,
):
    sites, (budget, limit) = problem
    chosen = Knapsack(sites).allocate_within([budget], [limit])
    if chosen is None:  # a choice may be missed
        return

    def fits(choice):
        return cost(sites, choice) <= budget and cost(sites, choice, 1) <= limit

    assert fits(chosen)
    for site, options in enumerate(sites):
        for index in range(len(options)):
            other = [*chosen[:site], index, *chosen[site + 1 :]]
            assert (
                not fits(other) or error(sites, other) >= error(sites, chosen) - 1e-12
            )


def test_a_limit_is_met_at_the_least_error_that_several_weights_show():
    """One site can be cheap and slow, or a little dearer and quick; the others are alike."""
    slow = [Option((100, 100), 0.0), Option((40, 130), 0.1), Option((45, 90), 0.12)]
    alike = [Option((100, 100), 0.0), Option((50, 95), 0.2), Option((10, 20), 0.9)]
    knapsack = Knapsack([slow, alike])
    assert knapsack.allocate_within([140], [230]) == [1, 0]
    assert knapsack.allocate_within([145], [200]) == [2, 0]
    assert knapsack.allocate_within([100], [185]) == [2, 1]
    assert knapsack.allocate_within([100], [50]) is None


def test_of_options_as_near_the_one_with_the_lower_penalty_is_chosen_and_nothing_bounds_that():
    slow = Option((10,), 0.1, penalty=90)
    quick = Option((11,), 0.1, penalty=20)
    assert Knapsack([[Option((30,), 0.0, penalty=60), slow, quick]]).allocate([12]) == [
        2
    ]
    assert Knapsack([[Option((30,), 0.0, penalty=60), slow, quick]]).allocate([10]) == [
        1
    ]
    assert Knapsack([[Option((30,), 0.0, penalty=10**6), slow, quick]]).allocate(
        [30]
    ) == [0]
