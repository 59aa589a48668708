"""Whole compressions, from file to file: budgets kept, accuracy kept, known answers met, bad input refused."""

import json
import zipfile
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import onnx
import pytest
from digits import MODELS, accuracy, scores, split
from support.calibrating import calibrate_with
from support.costs import written as cost_table_in
from support.onnx_text import written

from convpress.budgets import KINDS
from convpress.gate.identify import identify
from convpress.refusal import Code, Refusal
from convpress.report import Calibration, Report
from convpress.shapes import parse_input_shape
from worker.engine.calibration.effort import Effort
from worker.engine.decompose.dac import dac
from worker.engine.formats import open_model
from worker.engine.numerics.convolution import Convolution, chain_macs
from worker.engine.pipeline import compress, inspect
from worker.engine.progress import Progress
from worker.engine.request import PHASES, Request
from worker.jobs.report import read

FILES = sorted(path.name for path in MODELS.glob("*.*") if path.suffix in (".onnx", ".pt"))
NOT_ASKED_FOR = "none was asked for"
TOP_FIELDS = {
    "format",
    "inputs",
    "convention",
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
    "verification",
    "risk",
    "engine",
}


def run(tmp_path, name, **asked):
    """Compress a sample model; without calibration, which takes seconds, unless it is asked for."""
    source = MODELS / name
    output, report = tmp_path / f"out{source.suffix}", tmp_path / "report.json"
    asked = {"input_shape": "1x1x16x16", "calibration": "none"} | asked
    budgets = {field: asked.pop(field) for field in KINDS if field in asked}
    steps = []
    request = Request(str(source), identify(source), str(output), str(report), budgets, **asked)
    compress(request, lambda phase, fraction: steps.append((phase, fraction)))
    return output, json.loads(report.read_text()), steps


@pytest.mark.parametrize("name", FILES)
def test_half_the_flops_cost_a_point_and_a_half_at_most(tmp_path, name):
    output, report, _ = run(tmp_path, name, flops_budget="0.5")
    assert report["keep"] <= 0.5
    assert accuracy(output) >= accuracy(MODELS / name) - 0.015


@pytest.mark.parametrize("name", ["plain.onnx", "plain.traced.pt"])
def test_calibrated_on_synthetic_inputs_half_the_flops_cost_as_little(tmp_path, monkeypatch, name):
    calibrate_with(monkeypatch, Effort(most_images=64))
    output, report, _ = run(
        tmp_path, name, flops_budget="0.5", calibration="synthetic", input_range="0,1"
    )
    assert accuracy(output) >= accuracy(MODELS / name) - 0.015
    calibration = read(Report, json.dumps(report).encode()).calibration
    assert (calibration.ranges, calibration.ranges_from) == (["0 to 1"], "told")
    assert calibration.images >= 8
    assert calibration.held_out_error.keys() == {"closed_form", "refitted"}
    assert report["verification"]["runs"] > 1
    assert report["verification"]["agreement"] >= 0.9


@pytest.mark.parametrize("name", FILES)
def test_at_full_rank_the_outputs_are_the_originals(tmp_path, name):
    output, report, _ = run(tmp_path, name, form="dac", rank=25)
    images = split()[1][0][:64]
    expected, found = scores(MODELS / name, images), scores(output, images)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert {site["form"] for site in report["sites"]} == {"dac", "original"}


@pytest.mark.parametrize("name", ["residual.onnx", "residual.traced.pt"])
@pytest.mark.parametrize("form", ["grouped", "spatial", "tucker2", "low-rank"])
def test_each_form_at_full_rank_gives_the_originals_outputs(tmp_path, name, form):
    output, report, _ = run(tmp_path, name, form=form, rank=1000, calibration="none")
    images = split()[1][0][:64]
    expected, found = scores(MODELS / name, images), scores(output, images)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert {site["form"] for site in report["sites"]} == {form, "original"}


@pytest.mark.parametrize("name", ["batchnorm.onnx", "batchnorm.traced.pt"])
@pytest.mark.parametrize("form", ["grouped", "spatial", "tucker2"])
def test_each_form_alone_meets_a_budget_and_tells_its_layers(tmp_path, name, form):
    output, report, _ = run(tmp_path, name, form=form, flops_budget="0.7", calibration="none")
    assert report["after"]["macs"] <= 0.7 * report["before"]["macs"]
    assert accuracy(output) >= accuracy(MODELS / name) - 0.02
    factored = [site for site in report["sites"] if site["form"] == form]
    assert factored
    for site in factored:
        n, c = site["weight_shape"][:2]
        first, *_, last = site["layers"]
        assert (first[1] * (c // first[1]), last[0]) == (c, n)
        assert (site["variant"] is None) == (form == "tucker2")


@pytest.mark.parametrize(
    ("name", "budget"),
    [
        *(("residual.onnx", budget) for budget in ("0.9", "62.5%", "0.31", "5M", "1.2 MMACs")),
        *(("residual.scripted.pt", budget) for budget in ("0.9", "0.31")),
    ],
)
def test_the_report_adds_up_and_keeps_the_budget(tmp_path, name, budget):
    output, report, steps = run(tmp_path, name, flops_budget=budget)
    assert report.keys() == TOP_FIELDS
    assert read(Report, json.dumps(report).encode()).calibration == Calibration(
        kind="none", reason=NOT_ASKED_FOR
    )
    before, after = report["before"], report["after"]
    assert sum(site["macs_before"] for site in report["sites"]) == before["macs"] == 7102944
    assert (
        sum(site["macs_after"] for site in report["sites"])
        == after["macs"]
        <= report["budget"]["macs"]
    )
    assert (before["flops"], after["flops"]) == (2 * before["macs"], 2 * after["macs"])
    assert (before["bytes"], after["bytes"]) == (
        (MODELS / name).stat().st_size,
        output.stat().st_size,
    )
    assert after["parameters"] < before["parameters"]
    assert all(site["reason"] for site in report["sites"] if site["form"] == "original")
    assert all(0 < site["error"] < 1 for site in report["sites"] if site["form"] != "original")
    assert report["verification"]["relative_error"] > 0
    phases = [phase for phase, _ in steps]
    assert tuple(sorted(set(phases), key=phases.index)) == PHASES
    fractions = [fraction for _, fraction in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 1


@pytest.mark.parametrize("name", ["plain.onnx", "plain.traced.pt"])
def test_the_same_request_gives_the_same_bytes(tmp_path, name):
    first = run(tmp_path, name, flops_budget="0.5")[0].read_bytes()
    assert run(tmp_path, name, flops_budget="0.5")[0].read_bytes() == first


@pytest.mark.parametrize("budget", ["1", "100%", "1G"])
def test_a_budget_that_allows_the_original_returns_it(tmp_path, budget):
    output, report, _ = run(tmp_path, "plain.onnx", flops_budget=budget)
    assert output.read_bytes() == (MODELS / "plain.onnx").read_bytes()
    assert "unchanged" in report["budget"]["note"]
    assert {site["reason"] for site in report["sites"]} == {"the budget allows the model as it is"}


def test_what_cannot_be_reached_is_refused_with_the_least_that_can_and_that_is_reached(tmp_path):
    with pytest.raises(Refusal) as refused:
        run(tmp_path, "residual.onnx", flops_budget="0.01")
    assert (refused.value.code, refused.value.field) == (Code.BUDGET_UNREACHABLE, "flops_budget")
    least = refused.value.expected.rpartition(" or ")[2]
    _, report, _ = run(tmp_path, "residual.onnx", flops_budget=least)
    assert report["after"]["flops"] == int(least.split()[0])


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({}, Code.BUDGET_MISSING),
        ({"flops_budget": "abc"}, Code.BUDGET_INVALID),
        ({"rank": 0}, Code.FORM_INVALID),
        ({"flops_budget": "0.5", "calibration": "real"}, Code.CALIBRATION_INVALID),
        ({"flops_budget": "0.5", "input_range": "1,0"}, Code.INPUT_RANGE_INVALID),
        (
            {"flops_budget": "0.5", "calibration": "synthetic", "input_mean": "0,0"},
            Code.INPUT_RANGE_INVALID,
        ),
        ({"form": "svd", "flops_budget": "0.5"}, Code.FORM_INVALID),
        ({"flops_budget": "0.5", "input_shape": "1x3x16x16"}, Code.INPUT_SHAPE_MISMATCH),
        ({"flops_budget": "0.5", "input_shape": "1x1x16"}, Code.INPUT_SHAPE_MISMATCH),
    ],
)
@pytest.mark.parametrize("name", ["residual.onnx", "residual.traced.pt"])
def test_what_cannot_be_served_is_refused(tmp_path, name, asked, code):
    with pytest.raises(Refusal) as refused:
        run(tmp_path, name, **asked)
    assert refused.value.code == code


def test_a_torchscript_file_needs_a_shape_and_inspection_says_so(tmp_path):
    with pytest.raises(Refusal) as refused:
        run(tmp_path, "plain.scripted.pt", flops_budget="0.5", input_shape=None)
    assert refused.value.code == Code.INPUT_SHAPE_REQUIRED
    request = Request(
        str(MODELS / "plain.scripted.pt"), "torchscript", "", str(tmp_path / "inspection.json")
    )
    inspect(request, lambda *_: None)
    told = json.loads((tmp_path / "inspection.json").read_text())
    assert told["macs"] is None
    assert "size" in told["missing"]


@pytest.mark.parametrize(
    ("budget", "ending"), [("0.5", nullcontext()), ("0.0001", pytest.raises(Refusal))]
)
def test_a_compression_leaves_the_inspection_however_it_ends(tmp_path, budget, ending):
    source, told = str(MODELS / "plain.onnx"), str(tmp_path / "told.json")
    alone = Request(source, "onnx", "", str(tmp_path / "alone.json"))
    asked = replace(
        alone,
        output=str(tmp_path / "out"),
        budgets={"flops_budget": budget},
        calibration="none",
        inspection=told,
    )
    with ending:
        compress(asked, lambda *_: None)
    inspect(alone, lambda *_: None)
    assert json.loads((tmp_path / "told.json").read_text()) == json.loads(
        (tmp_path / "alone.json").read_text()
    )


def test_progress_counts_the_seconds_of_every_phase():
    told = []
    progress = Progress(lambda *step: told.append(step))
    progress.enter("loading")
    progress.enter("factoring")
    progress.within(1, 2)
    progress.close()
    assert told == [("loading", 0.0), ("factoring", 0.4), ("factoring", 0.45)]
    assert progress.seconds.keys() == {"loading", "factoring"}


def test_a_phase_begins_with_free_memory_given_back(monkeypatch):
    happened = []
    monkeypatch.setattr(
        "worker.engine.numerics.memory.give_back", lambda: happened.append("given back")
    )
    progress = Progress(lambda phase, _: happened.append(phase))
    progress.enter("measuring")
    progress.within(1, 2)
    assert happened == ["given back", "measuring", "measuring"]


VGG16 = [
    (64, 3, 224), (64, 64, 224), (128, 64, 112), (128, 128, 112), (256, 128, 56), (256, 256, 56), (256, 256, 56),
    (512, 256, 28), (512, 512, 28), (512, 512, 28), (512, 512, 14), (512, 512, 14), (512, 512, 14),
]  # fmt: skip
VGG16_LINEAR = 25088 * 4096 + 4096 * 4096 + 4096 * 1000


@pytest.mark.parametrize(("rank", "saved"), [(1, 87.7), (2, 76.1), (3, 64.5), (4, 53.0), (5, 41.4)])
def test_the_papers_savings_on_vgg16(rank, saved):
    convolutions = [
        (Convolution((n, c, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)), (size, size))
        for n, c, size in VGG16
    ]
    before = sum(convolution.macs(size) for convolution, size in convolutions) + VGG16_LINEAR
    after = VGG16_LINEAR
    for convolution, size in convolutions:
        [factorisation] = dac(convolution)
        after += chain_macs(factorisation.convolutions(rank), size)
    assert before == 15_470_264_320
    assert 100 * (1 - after / before) == pytest.approx(saved, abs=0.05)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_bundle_comes_back_as_a_bundle(tmp_path, compression):
    (tmp_path / "in").mkdir()
    onnx.save(
        onnx.load(MODELS / "plain.onnx"),
        tmp_path / "in" / "m.onnx",
        save_as_external_data=True,
        location="w",
    )
    source, output = tmp_path / "bundle", tmp_path / "out"
    with zipfile.ZipFile(source, "w", compression) as archive:
        for name in ("m.onnx", "w"):
            archive.write(tmp_path / "in" / name, name)
    request = Request(
        str(source),
        identify(source),
        str(output),
        str(tmp_path / "report.json"),
        {"flops_budget": "0.5"},
    )
    compress(replace(request, input_shape="1x1x16x16", calibration="none"), lambda *_: None)
    report = json.loads((tmp_path / "report.json").read_text())
    assert identify(output) == "onnx"
    assert report["before"]["bytes"] == source.stat().st_size
    assert report["after"]["bytes"] == output.stat().st_size
    assert report["keep"] <= 0.5
    assert zipfile.ZipFile(output).namelist() == ["m.onnx", "w"]


def test_a_budget_that_layers_stand_in_the_way_of_says_which_and_why(tmp_path):
    path = written(
        tmp_path,
        """net (float[1, 3, 8, 8] x, float[4, 3, 3, 3] k) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w> {
        a = Conv(x, k) b = Conv(x, w) c = Conv(x, k) d = Add(a, b) y = Add(c, d) }""",
    )
    request = Request(
        str(path), "onnx", str(tmp_path / "out.onnx"), str(tmp_path / "r.json"), {"flops_budget": "0.1"},
        calibration="none",
    )  # fmt: skip
    with pytest.raises(Refusal) as refused:
        compress(request, lambda *_: None)
    assert refused.value.code == Code.BUDGET_UNREACHABLE
    assert (
        "of 3 layers 2 stay as they are: 2 because its weight is computed at run time"
        in refused.value.detail
    )


def test_a_model_without_convolutions_is_refused_with_what_it_has(tmp_path):
    path = written(
        tmp_path,
        "net (float[1, 4] x) => (float[1, 3] y) <float[4, 3] w> { h = MatMul(x, w) y = Relu(h) }",
    )
    request = Request(
        str(path),
        "onnx",
        str(tmp_path / "out.onnx"),
        str(tmp_path / "report.json"),
        {"flops_budget": "0.5"},
    )
    with pytest.raises(Refusal) as refused:
        compress(request, lambda *_: None)
    assert (refused.value.code, refused.value.got) == (Code.NOTHING_TO_COMPRESS, "MatMul, Relu")
    assert not (tmp_path / "out.onnx").exists()


def test_a_latency_budget_is_kept_by_the_tables_own_count(tmp_path):
    """Where a multiply-accumulate takes as long in every layer, time is what arithmetic is."""
    costs = str(cost_table_in(tmp_path, layer_ns=1.0))
    output, report, _ = run(tmp_path, "residual.onnx", latency_budget="60%", costs=costs)
    said = read(Report, json.dumps(report).encode())
    assert said.latency is not None
    assert 0 < said.latency.predicted_after_ms <= 0.6 * said.latency.predicted_before_ms
    assert said.latency.predicted_after_ms == pytest.approx(
        sum(site.ms_after for site in said.sites), rel=1e-6
    )
    assert said.latency.predicted_before_ms == pytest.approx(
        sum(site.ms_before for site in said.sites), rel=1e-6
    )
    share = said.latency.predicted_after_ms / said.latency.predicted_before_ms
    rounding = 0.5e-4 * (1 + share)  # both are given to four decimals
    assert said.latency.expected_after_ms == pytest.approx(
        said.before.latency_ms * share, abs=1.001 * rounding
    )
    assert report["budget"]["latency_budget"] == "60%"
    assert all(site.ms_after <= site.ms_before for site in said.sites)
    keeps = [point.latency_keep for point in said.frontier]
    assert keeps[-1] == 1
    assert min(keeps) < 0.5
    assert accuracy(output) >= accuracy(MODELS / "residual.onnx") - 0.015


def test_no_site_is_made_slower_unless_flops_are_wanted_at_any_price(tmp_path):
    """On this host what is not dense is a hundred times as slow."""
    slow = {
        f"{kind}_{kernel}": 100.0
        for kind in ("depthwise", "grouped")
        for kernel in ("1x1", "3x3", "1x3", "3x1")
    }
    costs = str(cost_table_in(tmp_path, **slow))
    asked = {"flops_budget": "0.8", "costs": costs, "form": "dac"}
    with pytest.raises(
        Refusal, match=r"can be brought to is 0[.]99.*which flops_at_any_price would allow"
    ):
        run(tmp_path, "plain.onnx", **asked)
    _, report, _ = run(tmp_path, "plain.onnx", **asked, flops_at_any_price=True)
    assert report["keep"] <= 0.8
    assert any(site["ms_after"] > site["ms_before"] for site in report["sites"])


def test_with_a_cost_table_a_budget_of_flops_is_spent_on_what_is_fast(tmp_path):
    """On this host two layers in a site's place take hardly less time where one of them is depthwise."""
    slow = {f"depthwise_{kernel}": 6.0 for kernel in ("1x1", "3x3", "1x3", "3x1")}
    costs = str(cost_table_in(tmp_path, **slow))
    _, blind, _ = run(
        tmp_path,
        "residual.onnx",
        flops_budget="0.5",
        calibration="none",
        costs=costs,
        flops_at_any_price=True,
    )
    _, report, _ = run(
        tmp_path, "residual.onnx", flops_budget="0.5", calibration="none", costs=costs
    )
    assert report["keep"] <= 0.5
    assert report["latency"]["predicted_after_ms"] < blind["latency"]["predicted_after_ms"]
    assert report["predicted_error"] < 1.2 * blind["predicted_error"]


@pytest.mark.parametrize("network", ["plain.onnx", "plain.traced.pt"])
def test_the_report_tells_of_the_layers_that_are_in_the_artifact(tmp_path, network):
    """Without a cost table, depthwise pairs are branches in ONNX alone."""
    output, report, _ = run(tmp_path, network, flops_budget="0.7", form="dac")
    model = open_model(identify(output), output)
    shapes = model.bind(parse_input_shape("1x1x16x16"))
    factored = [site for site in report["sites"] if site["form"] == "dac"]
    assert any(site["rank"] > 1 for site in factored)
    assert [site["branches"] for site in factored] == [
        site["rank"] if network.endswith("onnx") else 1 for site in factored
    ]
    made = [list(site.weight_shape) for site in model.count(shapes).sites]
    told = [
        site["branches"] * (site["layers"] or [site["weight_shape"]]) for site in report["sites"]
    ]
    assert sorted(made) == sorted(shape for site in told for shape in site)


def test_one_model_one_table_and_one_budget_give_one_artifact(tmp_path):
    costs = str(cost_table_in(tmp_path, **{"1x1": 3.0}))
    first, _, _ = run(tmp_path, "residual.onnx", latency_budget="0.7", costs=costs)
    content = first.read_bytes()
    again, _, _ = run(tmp_path, "residual.onnx", latency_budget="0.7", costs=costs)
    assert again.read_bytes() == content


def test_a_budget_of_milliseconds_that_allows_the_model_leaves_it(tmp_path):
    output, report, _ = run(
        tmp_path, "plain.onnx", latency_budget="10s", costs=str(cost_table_in(tmp_path))
    )
    assert output.read_bytes() == (MODELS / "plain.onnx").read_bytes()
    assert report["budget"]["note"]


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        ({"latency_budget": "0.5"}, Code.COST_TABLE_MISSING, "latency_budget"),
        ({"latency_budget": "fast", "costs": "{costs}"}, Code.BUDGET_INVALID, "latency_budget"),
        ({"latency_budget": "0", "costs": "{costs}"}, Code.BUDGET_INVALID, "latency_budget"),
        ({"latency_budget": "1us", "costs": "{costs}"}, Code.BUDGET_UNREACHABLE, "latency_budget"),
        (
            {"latency_budget": "0.5", "flops_at_any_price": True, "costs": "{costs}"},
            Code.BUDGET_INVALID,
            None,
        ),
        ({"latency_budget": "0.5", "costs": "{none}"}, Code.COST_TABLE_INVALID, "cost_table"),
        ({"flops_budget": "0.5", "costs": "{none}"}, Code.COST_TABLE_INVALID, "cost_table"),
    ],
)
def test_what_cannot_be_had_of_time_is_refused_by_its_field(tmp_path, asked, code, field):
    paths = {"costs": cost_table_in(tmp_path), "none": tmp_path / "none.json"}
    filled = {
        name: value.format(**paths) if isinstance(value, str) else value
        for name, value in asked.items()
    }
    with pytest.raises(Refusal) as caught:
        run(tmp_path, "plain.onnx", **filled)
    assert (caught.value.code, caught.value.field) == (code, field or "flops_at_any_price")


def test_a_table_without_the_models_layers_cannot_keep_a_budget_of_time(tmp_path):
    path = cost_table_in(tmp_path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "grids": {}}))
    with pytest.raises(Refusal, match="none of the model's layers has a price"):
        run(tmp_path, "plain.onnx", latency_budget="0.5", costs=str(path))
    _, report, _ = run(tmp_path, "plain.onnx", flops_budget="0.5", costs=str(path))
    assert report["latency"]["unpriced_sites"] == len(report["sites"])


SIZES = {"params_budget": "parameters", "bytes_budget": "bytes"}


@pytest.mark.parametrize("name", ["residual.onnx", "batchnorm.traced.pt", "plain.scripted.pt"])
@pytest.mark.parametrize("field", SIZES)
def test_a_budget_of_what_the_file_holds_is_met_by_the_file(tmp_path, name, field):
    output, report, _ = run(tmp_path, name, **{field: "0.75"})
    before, after = report["before"][SIZES[field]], report["after"][SIZES[field]]
    assert 0.65 * before < after <= int(0.75 * before)
    assert report["budget"] == {field: "0.75", SIZES[field]: int(0.75 * before), "note": None}
    assert accuracy(output) >= accuracy(MODELS / name) - 0.03
    keeps = [point["budget_keep"] for point in report["frontier"]]
    assert keeps == sorted(keeps)
    assert keeps[-1] == 1
    assert len(keeps) > 3
    errors = [point["predicted_error"] for point in report["frontier"]]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("name", ["residual.onnx", "residual.traced.pt"])
def test_all_budgets_are_met_at_once_and_none_is_spent_for_nothing(tmp_path, name):
    asked = {"flops_budget": "0.7", "params_budget": "0.5", "bytes_budget": "200kB"}
    output, report, _ = run(tmp_path, name, **asked)
    after = report["after"]
    assert report["keep"] <= 0.7
    assert after["parameters"] <= 0.5 * report["before"]["parameters"]
    assert after["bytes"] == output.stat().st_size <= 200_000
    assert report["budget"].keys() == {*asked, "macs", "flops", "parameters", "bytes", "note"}
    spent = [
        report["keep"] / 0.7,
        after["parameters"] / report["before"]["parameters"] / 0.5,
        after["bytes"] / 200_000,
    ]
    assert max(spent) > 0.95


def test_the_least_size_that_is_told_is_reached(tmp_path):
    with pytest.raises(Refusal) as refused:
        run(tmp_path, "residual.onnx", params_budget="1%")
    assert (refused.value.code, refused.value.field) == (Code.BUDGET_UNREACHABLE, "params_budget")
    least = refused.value.expected.rpartition(" or ")[2]
    _, report, _ = run(tmp_path, "residual.onnx", params_budget=least)
    assert report["after"]["parameters"] == int(least.split()[0])


def test_what_is_within_one_budget_alone_is_still_compressed(tmp_path):
    _, report, _ = run(tmp_path, "plain.onnx", flops_budget="100%", bytes_budget="0.7")
    assert report["after"]["bytes"] <= 0.7 * report["before"]["bytes"]
    assert report["budget"]["note"] is None
