"""Whole compressions, from file to file: budgets, accuracy, known answers, bad input."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from digits import MODELS, accuracy, scores, split
from support.engine.calibrating import calibrate_little, calibrate_with
from support.engine.compressing import compress_text, compressed
from train import BatchNorm, write_exported

from convpress.gate.identify import identify
from convpress.report import Report
from worker.engine.calibration.effort import Effort
from worker.engine.pipeline import compress
from worker.engine.request import Request
from worker.sandbox.account_parser import read

FILES = sorted(
    path.name for path in MODELS.glob("*.*") if path.suffix in (".onnx", ".pt")
)
# Every format, way of export and kind of network once; the others are left to `make slow`.
EACH_ONCE = {
    "batchnorm_bn.onnx",
    "plain.traced.pt",
    "residual.onnx",
    "residual_bn.onnx",
}
EVERY = [
    pytest.param(name, marks=[pytest.mark.slow] * (name not in EACH_ONCE))
    for name in FILES
]
NOT_ASKED_FOR = "the request asks for no calibration"


@pytest.mark.parametrize("name", EVERY)
def test_half_the_flops_cost_a_point_and_a_half_at_most(tmp_path, name):
    output, report, _ = compressed(tmp_path, name, flops_budget="0.5")
    assert report["keep"] <= 0.5
    assert accuracy(output) >= accuracy(MODELS / name) - 0.015


@pytest.mark.parametrize(
    "name", ["plain.onnx", pytest.param("plain.traced.pt", marks=pytest.mark.slow)]
)
def test_calibrated_on_synthetic_inputs_half_the_flops_cost_as_little(
    tmp_path, monkeypatch, name
):
    calibrate_with(monkeypatch, Effort(most_images=64))
    output, report, _ = compressed(
        tmp_path, name, flops_budget="0.5", calibration="synthetic", input_range="0,1"
    )
    assert accuracy(output) >= accuracy(MODELS / name) - 0.015
    calibration = read(Report, json.dumps(report).encode()).calibration
    assert calibration.ranges == ["0 to 1"]
    assert calibration.ranges_from == "the request"
    assert calibration.images >= 8
    assert calibration.held_out_error.keys() == {"closed_form", "refitted"}
    assert report["verification"]["runs"] > 1
    assert report["verification"]["agreement"] >= 0.9


@pytest.mark.slow
def test_a_program_of_torch_export_gets_the_layers_that_its_torchscript_gets(tmp_path):
    chosen = []
    for name in ("residual.pt2", "residual.traced.pt"):
        output, report, _ = compressed(tmp_path, name, flops_budget="0.5")
        assert accuracy(output) >= accuracy(MODELS / name) - 0.015
        chosen.append(
            [
                (site["form"], site["rank"], site["macs_after"])
                for site in report["sites"]
            ]
        )
    assert chosen[0] == chosen[1]


@pytest.mark.slow
def test_a_program_calibrates_as_its_torchscript_does(tmp_path, monkeypatch):
    calibrate_little(monkeypatch)
    traced = MODELS / "batchnorm.traced.pt"
    module = BatchNorm()
    module.load_state_dict(torch.jit.load(traced).state_dict())
    write_exported(module.eval(), tmp_path / "batchnorm.pt2")
    reports = []
    for name in (str(tmp_path / "batchnorm.pt2"), traced.name):
        _, report, _ = compressed(
            tmp_path, name, flops_budget="0.5", calibration="synthetic"
        )
        reports.append(report)
    program, scripted = reports
    for site, own in zip(program["sites"], scripted["sites"], strict=True):
        assert (site["form"], site["rank"]) == (own["form"], own["rank"])
    assert program["predicted_error"] == pytest.approx(
        scripted["predicted_error"], rel=1e-3
    )
    own_error = scripted["verification"]["relative_error"]
    assert program["verification"]["relative_error"] == pytest.approx(
        own_error, rel=1e-2
    )


@pytest.mark.parametrize("name", EVERY)
def test_at_full_rank_the_outputs_are_the_originals(tmp_path, name):
    output, report, _ = compressed(tmp_path, name, form="dac", rank=25)
    images = split()[1][0][:64]
    expected = scores(MODELS / name, images)
    actual = scores(output, images)
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()
    assert {site["form"] for site in report["sites"]} == {"dac", "original"}


# Forms know no formats: of TorchScript's one is enough, and `make slow` has the others.
@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(
            ("residual.onnx", form)
            for form in ("grouped", "spatial", "tucker2", "low-rank")
        ),
        ("residual.traced.pt", "spatial"),
        *(
            pytest.param("residual.traced.pt", form, marks=pytest.mark.slow)
            for form in ("grouped", "tucker2", "low-rank")
        ),
    ],
)
def test_each_form_at_full_rank_gives_the_originals_outputs(tmp_path, name, form):
    output, report, _ = compressed(
        tmp_path, name, form=form, rank=1000, calibration="none"
    )
    images = split()[1][0][:64]
    expected = scores(MODELS / name, images)
    actual = scores(output, images)
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()
    assert {site["form"] for site in report["sites"]} == {form, "original"}


@pytest.mark.parametrize(
    "name",
    ["batchnorm.onnx", pytest.param("batchnorm.traced.pt", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("form", ["grouped", "spatial", "tucker2"])
def test_each_form_alone_meets_a_budget_and_tells_its_layers(tmp_path, name, form):
    output, report, _ = compressed(
        tmp_path, name, form=form, flops_budget="0.7", calibration="none"
    )
    assert report["after"]["macs"] <= 0.7 * report["before"]["macs"]
    assert accuracy(output) >= accuracy(MODELS / name) - 0.02
    factored = [site for site in report["sites"] if site["form"] == form]
    assert factored
    for site in factored:
        n, c = site["weight_shape"][:2]
        first, *_, last = site["layers"]
        assert first[1] * (c // first[1]) == c
        assert last[0] == n
        assert (site["variant"] is None) == (form == "tucker2")


@pytest.mark.parametrize("name", ["plain.onnx", "plain.traced.pt"])
def test_the_same_request_gives_the_same_bytes(tmp_path, name):
    first = compressed(tmp_path, name, flops_budget="0.5")[0].read_bytes()
    assert compressed(tmp_path, name, flops_budget="0.5")[0].read_bytes() == first


@pytest.mark.parametrize("budget", ["1", "100%", "1G"])
def test_a_budget_that_allows_the_original_returns_it(tmp_path, budget):
    output, report, _ = compressed(tmp_path, "plain.onnx", flops_budget=budget)
    assert output.read_bytes() == (MODELS / "plain.onnx").read_bytes()
    note = report["budget"]["note"]
    assert note.startswith("nothing was compressed")
    assert (
        f"flops_budget={budget} allows all of its {report['before']['flops']} FLOPs"
        in note
    )
    assert {site["reason"] for site in report["sites"]} == {
        "the budget allows the model as it is"
    }


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_bundle_comes_back_as_a_bundle(tmp_path, compression):
    (tmp_path / "in").mkdir()
    onnx.save(
        onnx.load(MODELS / "plain.onnx"),
        tmp_path / "in" / "m.onnx",
        save_as_external_data=True,
        location="w",
    )
    source = tmp_path / "bundle"
    output = tmp_path / "out"
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
    compress(
        replace(request, input_shape="1x1x16x16", calibration="none"), lambda *_: None
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert identify(output) == "onnx"
    assert report["before"]["bytes"] == source.stat().st_size
    assert report["after"]["bytes"] == output.stat().st_size
    assert report["keep"] <= 0.5
    assert zipfile.ZipFile(output).namelist() == ["m.onnx", "w"]


def test_linear_layers_alone_are_compressed(tmp_path):
    report = compress_text(
        tmp_path,
        "net (float[1, 40] x) => (float[1, 30] y) <float[40, 80] w, float[30, 80] v> "
        "{ h = MatMul(x, w) r = Relu(h) y = Gemm <transB = 1> (r, v) }",
    )
    assert {site["form"] for site in report["sites"]} >= {"low-rank"}
    assert report["keep"] <= 0.6
