"""The account of a model as a report has it."""

from dataclasses import replace

import pytest
from support.engine.analyses import analysed

from convpress import report as records
from convpress.precision import AUTO, FLOAT, INT8
from worker.engine.model import (
    NO_ROWS,
    Call,
    CostProfile,
    Restored,
    Site,
    TensorSpec,
    UnaccountedOperator,
)
from worker.engine.report import account

(SITE,) = analysed().sites
SPECS = [TensorSpec("x", "float32", ("n", 3, None)), TensorSpec("y", "int64", None)]


def test_inputs_have_the_shapes_of_the_account_and_tensors_those_of_the_model():
    bound = account.inputs(SPECS, {"x": (1, 3, 8), "y": ()})
    assert [tensor.shape for tensor in bound] == ["1x3x8", ""]
    declared = account.tensors(SPECS)
    assert [tensor.dtype for tensor in declared] == ["float32", "int64"]
    assert declared[0].shape.startswith("nx3x")
    assert declared[1].shape is None


@pytest.mark.parametrize(("paths", "courses"), [((), None), ((0, 5, 0, 7), [1, 3])])
def test_a_site_has_the_execution_paths_on_which_it_runs(paths, courses):
    site = replace(
        SITE, calls=(Call(1, (8, 8), 2), Call(1, (4, 4))), execution_paths=paths
    )
    (row,) = account.inspected_sites(CostProfile((site,), {}))
    assert (row.calls, row.courses) == (3, courses)
    assert row.weight_shape == [8, 4, 3, 3]


def test_operators_are_listed_by_name():
    gap = UnaccountedOperator("w", "Mix", "a reason")
    profile = CostProfile((), {"Relu": 2, "Add": 1}, unaccounted=(gap,))
    assert list(account.uncounted(profile).items()) == [("Add", 1), ("Relu", 2)]
    (row,) = account.unaccounted(profile)
    assert (row.name, row.operator, row.reason) == ("w", "Mix", "a reason")


def test_a_cost_has_flops_and_integer_operations():
    quantised = replace(SITE, macs=30, reason="it computes with integers")
    profile = CostProfile((SITE, quantised), {})
    times = records.RunTimes(runs=1, processor=None, clock=None)
    cost = account.cost(profile, 7, 100, times)
    assert (cost.macs, cost.flops, cost.integer_operations) == (1030, 2060, 60)
    assert (cost.parameters, cost.bytes, cost.latency_ms) == (7, 100, None)


@pytest.mark.parametrize(
    ("precision", "has_integers", "words"),
    [
        (None, True, "or with precision=int8"),
        (FLOAT, True, "precision=int8 quantises it again"),
        (INT8, True, "was quantised again."),
        (AUTO, False, "no layer is in int8"),
    ],
)
def test_a_quantised_model_is_said_to_be_one(precision, has_integers, words):
    restored = Restored(weights=1, pairs=2)
    text = account.restored(restored, precision, has_integers=has_integers)
    assert text.startswith("The model is quantised: 1 weight became the floats")
    assert "2 pairs of QuantizeLinear" in text
    assert words in text
    assert account.restored(None) is None


def test_layers_whose_rows_values_decide_are_named():
    sites = [Site("a", "Gemm", (), 5), Site("b", "Gemm", (), 5, sized_by_values=True)]
    profile = CostProfile(tuple(sites), {})
    sized = account.sized_by_values(profile)
    assert (sized.layers, sized.other_rows) == (["b"], False)
    assert "how many rows 1 layer has" in sized.text
    other = account.sized_by_values(profile, other_rows=True)
    assert other.other_rows
    assert other.text.startswith(sized.text)
    assert "on the rows of the model" in other.text
    assert account.sized_by_values(CostProfile(tuple(sites[:1]), {})) is None


def test_an_inspection_says_why_a_layer_costs_nothing():
    profile = CostProfile((Site("a", "Gemm", (8, 4), 0),), {})
    assert account.inspected_sites(profile)[0].reason == NO_ROWS
