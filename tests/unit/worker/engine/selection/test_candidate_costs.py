"""The costs of a rank, by hand from the shapes of its layers."""

import pytest
from support.engine.analyses import GEOMETRY, analysed
from support.engine.costs import cost_table

from worker.engine.decompose.forms.spatial import spatial
from worker.engine.decompose.forms.tucker2 import tucker2
from worker.engine.selection.candidate_costs import cost_of_rank, original, with_time
from worker.engine.selection.candidates import Candidate

(SITE,) = analysed().sites
POSITIONS = 8 * 8


@pytest.mark.parametrize("rank", [1, 5])
def test_a_single_rank_costs_in_proportion(rank):
    form = spatial(GEOMETRY)[0]
    parameters = rank * (4 * 3 + 8 * 3)
    assert cost_of_rank(SITE, form)(rank) == (POSITIONS * parameters, parameters)


def test_a_pair_of_ranks_is_counted():
    (form,) = tucker2(GEOMETRY)
    parameters = 4 * 2 + 2 * 3 * 9 + 3 * 8
    assert cost_of_rank(SITE, form)((2, 3)) == (POSITIONS * parameters, parameters)


def test_the_original_costs_what_its_site_does():
    assert original(SITE) == Candidate(1000, 8 * 4 * 9, 0.0)


def test_a_table_tells_the_time_over_all_calls():
    table = cost_table(layer_ns=100.0)
    macs = POSITIONS * 8 * 4 * 9
    assert original(SITE, table).nanoseconds == macs + 100
    form = spatial(GEOMETRY)[0]
    candidate = Candidate(0, 0, 0.1, form, 2)
    factored = with_time(SITE, candidate, table)
    assert factored.nanoseconds >= POSITIONS * 2 * 36
    assert with_time(SITE, candidate, None) is candidate
