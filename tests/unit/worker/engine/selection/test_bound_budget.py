"""A budget bound to a model: what it leaves to the sites."""

from support.engine.analyses import ORIGINAL, QUICK, analysed

from convpress.budgets import FLOPS
from worker.engine.selection.bound_budget import BoundBudget


def test_what_a_file_holds_beyond_weights_counts_for_factored_sites_alone():
    site = analysed(QUICK).sites[0]
    budget = BoundBudget(FLOPS.parse("50%"), 1000, 500, 1000, overhead=7)
    assert budget.costs(site, QUICK) == (407,)
    assert budget.costs(site, ORIGINAL) == (1000,)
    assert budget.left_to([site], [ORIGINAL]) == 500
