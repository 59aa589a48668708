"""Selection: candidates for every site, budgets, and the choice among them."""
