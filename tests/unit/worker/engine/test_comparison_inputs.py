"""Inputs of a comparison."""

from worker.engine.comparison_inputs import SOURCES, ComparisonInputs


def test_the_runs_of_all_groups_count():
    inputs = ComparisonInputs("noise", {"0 to 1": [{}, {}], "-1 to 1": [{}]})
    assert inputs.runs == 3
    assert inputs.source in SOURCES
