"""Inputs of a comparison."""

from worker.engine.comparison_inputs import SOURCES, ComparisonInputs


def test_the_runs_of_all_groups_count():
    inputs = ComparisonInputs("noise", {"0 to 1": [{}, {}], "-1 to 1": [{}]})
    assert inputs.runs == 3
    assert inputs.source in SOURCES


def test_doubts_unlike_inputs_and_quiet_outputs_stand_against_a_low_risk():
    groups = {"samples": [{}]}
    assert not ComparisonInputs("held-out samples", groups).obstacles
    doubted = ComparisonInputs(
        "synthetic", groups, ("it is a guess",), like_truth=False, quiet=True
    )
    assert len(doubted.obstacles) == 3
    assert doubted.obstacles[0] == "it is a guess"
