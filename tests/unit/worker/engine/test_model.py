"""Costs of sites along the execution paths of a model, and numbers as inputs."""

import pytest

from worker.engine.model import CostProfile, Site, TensorSpec, by_execution_path


def test_the_cost_of_a_model_is_that_of_its_most_expensive_path():
    sites = (
        Site("both", "Conv", (), 9, execution_paths=(9, 9)),
        Site("first", "Conv", (), 5, execution_paths=(5, 0)),
        Site("second", "Conv", (), 7, execution_paths=(0, 7)),
    )
    profile = CostProfile(sites, {})
    assert profile.execution_paths == (14, 16)
    assert profile.macs == 16


def test_a_site_that_runs_less_often_in_a_path_costs_less_there():
    loop = Site("loop", "Conv", (), 12, execution_paths=(12, 4))
    assert by_execution_path([loop], [6]) == (6, 2)


def test_without_branches_there_is_one_path():
    sites = [Site("a", "Conv", (), 9), Site("b", "Conv", (), 5)]
    assert by_execution_path(sites, [4, 3]) == (7,)


@pytest.mark.parametrize(
    ("spec", "is_number"),
    [
        (TensorSpec("n", "int", None), True),
        (TensorSpec("n", "int64", ()), True),
        (TensorSpec("n", "float32", ()), False),
        (TensorSpec("n", "int64", (1,)), False),
    ],
)
def test_a_whole_number_without_axes_takes_its_value_from_the_shape(spec, is_number):
    assert spec.is_number is is_number
    assert spec.axes((5,)) == (() if is_number else (5,))
    if is_number:
        assert spec.number((5,)) == 5
        assert spec.number(()) == 0
