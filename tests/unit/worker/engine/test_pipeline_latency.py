"""Budgets of time, and choices of FLOPs under a cost table, from file to file."""

import json
from dataclasses import replace

import pytest
from digits import MODELS, accuracy
from support.engine.compressing import compressed
from support.engine.costs import cost_table
from support.engine.costs import written as cost_table_in

from convpress.refusal import Code, Refusal
from convpress.report import Report
from worker.engine.costs.processor import host_name
from worker.sandbox.account_parser import read

_GROUPED = ("depthwise", "ragged_depthwise", "strided_depthwise", "grouped")
_KERNELS = ("1x1", "3x3", "1x3", "3x1", "7x7")


def test_a_latency_budget_is_kept_by_the_tables_own_count(tmp_path):
    """Where a multiply-accumulate takes as long in every layer, time is what arithmetic is."""
    costs = str(cost_table_in(tmp_path, layer_ns=1.0))
    output, report, _ = compressed(
        tmp_path, "residual.onnx", latency_budget="60%", costs=costs
    )
    parsed = read(Report, json.dumps(report).encode())
    assert parsed.latency is not None
    assert (
        0
        < parsed.latency.predicted_after_ms
        <= 0.6 * parsed.latency.predicted_before_ms
    )
    assert parsed.latency.predicted_after_ms == pytest.approx(
        sum(site.ms_after for site in parsed.sites), rel=1e-6
    )
    assert parsed.latency.predicted_before_ms == pytest.approx(
        sum(site.ms_before for site in parsed.sites), rel=1e-6
    )
    share = parsed.latency.predicted_after_ms / parsed.latency.predicted_before_ms
    rounding = 0.5e-4 * (1 + share)  # both are given to four decimals
    assert parsed.latency.expected_after_ms == pytest.approx(
        parsed.timing.before.processor.median_ms * share, abs=1.001 * rounding
    )
    assert report["budget"]["latency_budget"] == "60%"
    assert all(site.ms_after <= site.ms_before for site in parsed.sites)
    keeps = [point.latency_keep for point in parsed.frontier]
    assert keeps[-1] == 1
    assert min(keeps) < 0.5
    assert accuracy(output) >= accuracy(MODELS / "residual.onnx") - 0.015


def test_no_site_is_made_slower_unless_flops_are_wanted_at_any_price(tmp_path):
    """On this host what is not dense is a hundred times as slow."""
    slow = {f"{kind}_{size}": 100.0 for kind in _GROUPED for size in _KERNELS}
    costs = str(cost_table_in(tmp_path, **slow))
    asked = {"flops_budget": "0.8", "costs": costs, "form": "dac"}
    with pytest.raises(
        Refusal,
        match=r"smallest reachable budget is 0[.]99.*which flops_at_any_price would allow",
    ):
        compressed(tmp_path, "plain.onnx", **asked)
    _, report, _ = compressed(tmp_path, "plain.onnx", **asked, flops_at_any_price=True)
    assert report["keep"] <= 0.8
    assert any(site["ms_after"] > site["ms_before"] for site in report["sites"])


def test_with_a_cost_table_a_budget_of_flops_is_spent_on_what_is_fast(tmp_path):
    """On this host two layers take hardly less time than one where one of them is depthwise."""
    slow = {f"depthwise_{kernel}": 6.0 for kernel in ("1x1", "3x3", "1x3", "3x1")}
    costs = str(cost_table_in(tmp_path, **slow))
    _, blind, _ = compressed(
        tmp_path,
        "residual.onnx",
        flops_budget="0.5",
        calibration="none",
        costs=costs,
        flops_at_any_price=True,
    )
    _, report, _ = compressed(
        tmp_path, "residual.onnx", flops_budget="0.5", calibration="none", costs=costs
    )
    assert report["keep"] <= 0.5
    assert (
        report["latency"]["predicted_after_ms"] < blind["latency"]["predicted_after_ms"]
    )
    assert report["predicted_error"] < 1.2 * blind["predicted_error"]


def test_a_table_for_information_gives_times_and_decides_about_budgets_of_time_alone(
    tmp_path,
):
    slow = {f"depthwise_{kernel}": 6.0 for kernel in ("1x1", "3x3", "1x3", "3x1")}
    costs = {"costs": str(cost_table_in(tmp_path, **slow)), "costs_decide": False}

    def report_of(**options):
        _, report, _ = compressed(
            tmp_path, "residual.onnx", calibration="none", **options
        )
        return report

    without = report_of(flops_budget="0.5")
    informed = report_of(flops_budget="0.5", **costs)
    chosen = [
        [(site["form"], site["rank"]) for site in each["sites"]]
        for each in (without, informed)
    ]
    assert chosen[0] == chosen[1]
    assert informed["latency"]["predicted_before_ms"] > 0
    bounded = report_of(flops_budget="0.5", latency_budget="0.9", **costs)
    assert (
        bounded["latency"]["predicted_after_ms"]
        <= 0.9 * bounded["latency"]["predicted_before_ms"]
    )


def test_a_table_that_nobody_named_keeps_the_model_from_becoming_slower(tmp_path):
    """On this host two layers take longer than one, but for those with 1x1 kernels."""
    slow = {f"{kind}_{size}": 5.0 for kind in _GROUPED for size in _KERNELS}
    costs = {"costs": str(cost_table_in(tmp_path, **slow)), "costs_decide": False}
    asked = {"flops_budget": "0.7", **costs}
    _, blind, _ = compressed(
        tmp_path, "residual.onnx", **asked, flops_at_any_price=True
    )
    before_ms = blind["latency"]["predicted_before_ms"]
    ratio = blind["latency"]["predicted_after_ms"] / before_ms
    assert ratio > 1
    assert f"{ratio:.2f} times as long" in blind["budget"]["note"]
    _, report, _ = compressed(tmp_path, "residual.onnx", **asked)
    assert report["latency"]["predicted_after_ms"] <= before_ms
    assert report["keep"] <= 0.7
    assert report["budget"]["note"] is None


def test_a_budget_that_only_slower_layers_meet_holds_and_the_report_says_so_first(
    tmp_path,
):
    slow = {f"{kind}_{size}": 100.0 for kind in _GROUPED for size in _KERNELS}
    costs = {"costs": str(cost_table_in(tmp_path, **slow)), "costs_decide": False}
    _, report, _ = compressed(
        tmp_path, "plain.onnx", flops_budget="0.8", form="dac", **costs
    )
    assert report["keep"] <= 0.8
    after_ms = report["latency"]["predicted_after_ms"]
    ratio = after_ms / report["latency"]["predicted_before_ms"]
    assert ratio > 1
    assert report["budget"]["note"] == (
        f"the layers are expected to take {ratio:.2f} times as long as those of the model: "
        "by the cost table, no choice is known that meets flops_budget=0.8 and is as fast"
    )


def test_one_model_one_table_and_one_budget_give_one_artifact(tmp_path):
    costs = str(cost_table_in(tmp_path, **{"1x1": 3.0}))
    first, _, _ = compressed(
        tmp_path, "residual.onnx", latency_budget="0.7", costs=costs
    )
    content = first.read_bytes()
    again, _, _ = compressed(
        tmp_path, "residual.onnx", latency_budget="0.7", costs=costs
    )
    assert again.read_bytes() == content


def test_a_budget_of_milliseconds_that_allows_the_model_leaves_it(tmp_path):
    output, report, _ = compressed(
        tmp_path, "plain.onnx", latency_budget="10s", costs=str(cost_table_in(tmp_path))
    )
    assert output.read_bytes() == (MODELS / "plain.onnx").read_bytes()
    assert report["budget"]["note"]


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        ({"latency_budget": "0.5"}, Code.COST_TABLE_MISSING, "latency_budget"),
        (
            {"latency_budget": "fast", "costs": "{costs}"},
            Code.BUDGET_INVALID,
            "latency_budget",
        ),
        (
            {"latency_budget": "0", "costs": "{costs}"},
            Code.BUDGET_INVALID,
            "latency_budget",
        ),
        (
            {"latency_budget": "1us", "costs": "{costs}"},
            Code.BUDGET_UNREACHABLE,
            "latency_budget",
        ),
        (
            {"latency_budget": "0.5", "flops_at_any_price": True, "costs": "{costs}"},
            Code.BUDGET_INVALID,
            None,
        ),
        (
            {"latency_budget": "0.5", "costs": "{none}"},
            Code.COST_TABLE_INVALID,
            "cost_table",
        ),
        (
            {"flops_budget": "0.5", "costs": "{none}"},
            Code.COST_TABLE_INVALID,
            "cost_table",
        ),
    ],
)
def test_what_cannot_be_had_of_time_is_refused_by_its_field(
    tmp_path, asked, code, field
):
    paths = {"costs": cost_table_in(tmp_path), "none": tmp_path / "none.json"}
    filled = {
        name: value.format(**paths) if isinstance(value, str) else value
        for name, value in asked.items()
    }
    with pytest.raises(Refusal) as caught:
        compressed(tmp_path, "plain.onnx", **filled)
    assert caught.value.code == code
    assert caught.value.field == (field or "flops_at_any_price")


@pytest.mark.parametrize(
    ("origin", "host", "said"),
    [
        (
            "shipped for onnxruntime-x86-avx2",
            "a host",
            "shipped for onnxruntime-x86-avx2",
        ),
        ("", "a host", "measured on a host"),
        ("", host_name(), "measured on this host"),
    ],
)
def test_the_report_says_which_table_served(tmp_path, origin, host, said):
    path = tmp_path / "costs.json"
    replace(cost_table(), host=host).write(path)
    options = {"flops_budget": "0.5", "calibration": "none", "costs_origin": origin}
    _, report, _ = compressed(tmp_path, "plain.onnx", **options, costs=str(path))
    assert report["latency"]["table"] == said


def test_a_table_without_the_models_layers_cannot_keep_a_budget_of_time(tmp_path):
    path = cost_table_in(tmp_path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "grids": {}}))
    with pytest.raises(Refusal, match="none of the model's layers has a price"):
        compressed(tmp_path, "plain.onnx", latency_budget="0.5", costs=str(path))
    _, report, _ = compressed(
        tmp_path, "plain.onnx", flops_budget="0.5", costs=str(path)
    )
    assert report["latency"]["unpriced_sites"] == len(report["sites"])
