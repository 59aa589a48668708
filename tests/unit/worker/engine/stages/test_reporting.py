"""Reports of whole compressions: what adds up, and what is true of the artifact."""

import json

import pytest
from digits import MODELS
from support.engine.compressing import compressed

from convpress.gate.identify import identify
from convpress.phases import PHASES
from convpress.report import Calibration, Report
from convpress.shapes import parse_input_shape
from worker.engine.formats import open_model
from worker.sandbox.account_parser import read

NOT_ASKED_FOR = "the request asks for no calibration"
TOP_FIELDS = {
    "account_complete",
    "unaccounted",
    "restored",
    "sized_by_values",
    "evaluation",
    "tried",
    "format",
    "inputs",
    "convention",
    "precision",
    "budget",
    "before",
    "after",
    "keep",
    "sites",
    "uncounted",
    "predicted_error",
    "frontier",
    "calibration",
    "latency",
    "timing",
    "verification",
    "risk",
    "engine",
}


@pytest.mark.parametrize(
    ("name", "budget"),
    [
        *(
            ("residual.onnx", budget)
            for budget in ("0.9", "62.5%", "0.31", "5M", "1.2 MMACs")
        ),
        ("residual.scripted.pt", "0.31"),
        pytest.param("residual.scripted.pt", "0.9", marks=pytest.mark.slow),
    ],
)
def test_the_report_adds_up_and_keeps_the_budget(tmp_path, name, budget):
    output, report, steps = compressed(tmp_path, name, flops_budget=budget)
    assert report.keys() == TOP_FIELDS
    assert read(Report, json.dumps(report).encode()).calibration == Calibration(
        kind="none", reason=NOT_ASKED_FOR
    )
    before = report["before"]
    after = report["after"]
    assert (
        sum(site["macs_before"] for site in report["sites"])
        == before["macs"]
        == 7102944
    )
    assert (
        sum(site["macs_after"] for site in report["sites"])
        == after["macs"]
        <= report["budget"]["macs"]
    )
    assert before["flops"] == 2 * before["macs"]
    assert after["flops"] == 2 * after["macs"]
    assert before["bytes"] == (MODELS / name).stat().st_size
    assert after["bytes"] == output.stat().st_size
    assert after["parameters"] < before["parameters"]
    assert all(site["reason"] for site in report["sites"] if site["form"] == "original")
    assert all(
        0 < site["error"] < 1 for site in report["sites"] if site["form"] != "original"
    )
    assert report["verification"]["relative_error"] > 0
    phases = [phase for phase, _ in steps]
    assert tuple(sorted(set(phases), key=phases.index)) == PHASES
    fractions = [fraction for _, fraction in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 1


@pytest.mark.parametrize("network", ["plain.onnx", "plain.traced.pt"])
def test_the_report_tells_of_the_layers_that_are_in_the_artifact(tmp_path, network):
    """Without a cost table, depthwise pairs are branches in ONNX alone."""
    output, report, _ = compressed(tmp_path, network, flops_budget="0.7", form="dac")
    model = open_model(identify(output), output)
    shapes = model.bind(parse_input_shape("1x1x16x16"))
    factored = [site for site in report["sites"] if site["form"] == "dac"]
    assert any(site["rank"] > 1 for site in factored)
    assert [site["branches"] for site in factored] == [
        site["rank"] if network.endswith("onnx") else 1 for site in factored
    ]
    shapes_written = [list(site.weight_shape) for site in model.count(shapes).sites]
    shapes_reported = [
        site["branches"] * (site["layers"] or [site["weight_shape"]])
        for site in report["sites"]
    ]
    assert sorted(shapes_written) == sorted(
        shape for site in shapes_reported for shape in site
    )
