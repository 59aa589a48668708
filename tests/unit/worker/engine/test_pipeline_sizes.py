"""Budgets of parameters and bytes, alone and together with FLOPs, from file to file."""

import pytest
from digits import MODELS, accuracy
from support.engine.compressing import compressed

from convpress.refusal import Code, Refusal

SIZES = {"params_budget": "parameters", "bytes_budget": "bytes"}


@pytest.mark.parametrize(
    "name",
    [
        "residual.onnx",
        pytest.param("batchnorm.traced.pt", marks=pytest.mark.slow),
        pytest.param("plain.scripted.pt", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("field", SIZES)
def test_a_budget_of_what_the_file_holds_is_met_by_the_file(tmp_path, name, field):
    output, report, _ = compressed(tmp_path, name, **{field: "0.75"})
    before = report["before"][SIZES[field]]
    after = report["after"][SIZES[field]]
    assert 0.65 * before < after <= int(0.75 * before)
    assert report["budget"] == {
        field: "0.75",
        SIZES[field]: int(0.75 * before),
        "note": None,
    }
    assert accuracy(output) >= accuracy(MODELS / name) - 0.03
    keeps = [point["budget_keep"] for point in report["frontier"]]
    assert keeps == sorted(keeps)
    assert keeps[-1] == 1
    assert len(keeps) > 3
    errors = [point["predicted_error"] for point in report["frontier"]]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    "name",
    ["residual.onnx", pytest.param("residual.traced.pt", marks=pytest.mark.slow)],
)
def test_all_budgets_are_met_at_once_and_none_is_spent_for_nothing(tmp_path, name):
    asked = {"flops_budget": "0.7", "params_budget": "0.5", "bytes_budget": "200kB"}
    output, report, _ = compressed(tmp_path, name, **asked)
    after = report["after"]
    assert report["keep"] <= 0.7
    assert after["parameters"] <= 0.5 * report["before"]["parameters"]
    assert after["bytes"] == output.stat().st_size <= 200_000
    assert report["budget"].keys() == {
        *asked,
        "macs",
        "flops",
        "parameters",
        "bytes",
        "note",
    }
    spent = [
        report["keep"] / 0.7,
        after["parameters"] / report["before"]["parameters"] / 0.5,
        after["bytes"] / 200_000,
    ]
    assert max(spent) > 0.95


def test_the_least_size_that_is_told_is_reached(tmp_path):
    with pytest.raises(Refusal) as refused:
        compressed(tmp_path, "residual.onnx", params_budget="1%")
    assert refused.value.code == Code.BUDGET_UNREACHABLE
    assert refused.value.field == "params_budget"
    least = refused.value.expected.rpartition(" or ")[2]
    _, report, _ = compressed(tmp_path, "residual.onnx", params_budget=least)
    assert report["after"]["parameters"] == int(least.split()[0])


def test_what_is_within_one_budget_alone_is_still_compressed(tmp_path):
    _, report, _ = compressed(
        tmp_path, "plain.onnx", flops_budget="100%", bytes_budget="0.7"
    )
    assert report["after"]["bytes"] <= 0.7 * report["before"]["bytes"]
    assert report["budget"]["note"] is None
