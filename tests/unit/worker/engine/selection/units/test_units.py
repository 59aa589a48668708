"""Units: a new kind of budget is one entry in each registry, and no other line of the engine."""

import json
from decimal import Decimal
from math import prod

import pytest
from digits import MODELS

from convpress import budgets
from convpress.budgets import FLOPS, BudgetKind
from convpress.gate.identify import identify
from convpress.refusal import Code, Refusal
from worker.engine.formats import open_model
from worker.engine.pipeline import compress
from worker.engine.request import Request
from worker.engine.selection.candidates import ORIGINAL
from worker.engine.selection.units import UNITS, Unit

FILTERS = BudgetKind(
    field="filters_budget",
    unit="filters",
    quantity="filters",
    example="300 filters",
    scales={"FILTERS": Decimal(1)},
    kept=lambda report: report.keep,
)


def filters_of(weight_shape):
    """Return the number of two-dimensional filters of a weight."""
    return prod(weight_shape[:2])


class Filters(Unit):
    """The two-dimensional filters of a model."""

    def total(self, opened, sites):
        return self.measured(opened)

    def cost(self, site, candidate):
        if candidate.form == ORIGINAL:
            return filters_of(site.weight_shape)
        return sum(filters_of(each.weight_shape) for each in candidate.convolutions)

    def measured(self, opened):
        return sum(filters_of(site.weight_shape) for site in opened.profile.sites)

    def text(self, amount):
        return f"{amount} filters"

    def reported(self, amount):
        return {"filters": amount}


@pytest.fixture
def filters(monkeypatch):
    monkeypatch.setitem(budgets.KINDS, FILTERS.field, FILTERS)
    monkeypatch.setitem(UNITS, FILTERS.unit, Filters())


def run(tmp_path, name, **texts):
    source = MODELS / name
    output = tmp_path / "out"
    report = tmp_path / "report.json"
    request = Request(
        str(source),
        identify(source),
        str(output),
        str(report),
        texts,
        "1x1x16x16",
        calibration="none",
    )
    compress(request, lambda *_: None)
    return output, json.loads(report.read_text())


def filters_in(path):
    model = open_model(identify(path), path)
    profile = model.count({spec.name: (1, 1, 16, 16) for spec in model.inputs})
    return sum(filters_of(site.weight_shape) for site in profile.sites)


@pytest.mark.parametrize("name", ["residual.onnx", "plain.traced.pt"])
def test_a_new_kind_of_budget_is_met_from_file_to_file(tmp_path, filters, name):
    before = filters_in(MODELS / name)
    output, report = run(tmp_path, name, filters_budget="60%")
    after = filters_in(output)
    assert 0.5 * before < after <= 0.6 * before
    assert report["budget"] == {
        "filters_budget": "60%",
        "filters": int(0.6 * before),
        "note": None,
    }
    assert report["frontier"][-1]["budget_keep"] == 1


def test_a_new_kind_of_budget_is_met_together_with_others(tmp_path, filters):
    output, report = run(
        tmp_path, "residual.onnx", flops_budget="50%", filters_budget="900 filters"
    )
    assert report["keep"] <= 0.5
    assert filters_in(output) <= 900


def test_a_new_kind_of_budget_that_is_unreachable_is_refused_in_its_own_unit(
    tmp_path, filters
):
    with pytest.raises(Refusal) as refused:
        run(tmp_path, "residual.onnx", filters_budget="1 filters")
    assert refused.value.code == Code.BUDGET_UNREACHABLE
    assert refused.value.field == "filters_budget"
    assert refused.value.got.endswith("1 filters")


def test_every_kind_of_budget_has_a_unit_and_every_unit_a_kind():
    assert {kind.unit for kind in budgets.KINDS.values()} == UNITS.keys()


def test_a_kind_whose_unit_nothing_counts_fails_loudly(tmp_path, monkeypatch):
    monkeypatch.setitem(budgets.KINDS, FILTERS.field, FILTERS)
    with pytest.raises(KeyError, match="filters"):
        run(tmp_path, "plain.onnx", filters_budget="50%")


def test_the_least_in_a_refusal_is_a_budget_that_can_be_parsed():
    assert FLOPS.parse(UNITS["macs"].text(500)).amount == 500
