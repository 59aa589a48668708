"""Lost channels from the choice to the file, in every format."""

import json
import re

import numpy as np
import onnx
import pytest
import torch
from support.engine.calibrating import LITTLE_EFFORT, calibrate_with
from support.engine.depthwise import SHAPE, saved

from convpress.budgets import BYTES, FLOPS, PARAMETERS
from convpress.gate.identify import identify
from convpress.refusal import Code, Refusal
from worker.engine.calibration.chains import run_chain
from worker.engine.formats import load_runner, open_model
from worker.engine.model import OpenedModel
from worker.engine.pipeline import compress
from worker.engine.program import run
from worker.engine.progress import Progress
from worker.engine.request import Request
from worker.engine.selection.analysis import analyse
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.frontier import frontier
from worker.engine.selection.narrowing import narrow_layers
from worker.engine.selection.objective import Objective, choose
from worker.engine.selection.replacements import factor

SUFFIXES = [".onnx", ".pt", ".pt2"]


@pytest.fixture(autouse=True)
def little_effort(monkeypatch):
    calibrate_with(monkeypatch, LITTLE_EFFORT)


def opened(path):
    model_format = identify(path)
    model = open_model(model_format, path)
    return OpenedModel(model_format, path, model, model.bind({"": SHAPE}))


def analysed(model, **options):
    request = Request(
        str(model.path), model.format, "", "", input_range="-1,1", **options
    )
    return analyse(request, model, Progress(lambda *_: None))


def chosen(model, analysis, *budgets):
    bound = [
        BoundBudget.of(kind.parse(text), model, analysis.candidates)
        for kind, text in budgets
    ]
    return choose(analysis, Objective(tuple(bound)))


@pytest.mark.parametrize("norms", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_without_channels_equals_the_model_with_zeros_for_them(
    tmp_path, suffix, norms
):
    model = opened(saved(tmp_path, suffix, norms=norms))
    analysis = analysed(model)
    assert len(analysis.paths) == 3
    choice = chosen(model, analysis, (FLOPS, "0.6"))
    program = model.model.program()
    sites = model.profile.sites
    layers = factor(model.model, analysis, choice)
    narrow, narrowings = narrow_layers(
        model.model, sites, analysis.paths.values(), choice, layers
    )
    assert narrowings
    x = torch.randn(SHAPE)
    with torch.no_grad():
        (expected,) = run(
            program,
            {program.inputs[0]: x},
            {name: lambda v, c=c: run_chain(c, v) for name, c in layers.items()},
        )
    for each in narrowings:
        model.model.keep_channels(each.path.values, each.path.norms, each.kept)
    by_name = {site.name: site for site in sites}
    for name, chain in narrow.items():
        model.model.replace(by_name[name], chain)
    artifact = tmp_path / f"out{suffix}"
    model.model.save(artifact)
    (output,) = load_runner(model.format, artifact)(
        {model.model.inputs[0].name: x.numpy()}
    ).values()
    np.testing.assert_allclose(output, expected.numpy(), rtol=1e-4, atol=1e-5)
    written = opened(artifact)
    assert written.profile.macs == analysis.macs_of(choice)
    assert written.profile.macs <= 0.6 * analysis.macs
    lost = sum(candidate.parameters for candidate in analysis.originals) - sum(
        candidate.parameters for candidate in choice
    )
    # the arrays of the normalisations, or the biases, go too; a factored site may get a bias
    assert written.parameters < opened(model.path).parameters - lost + 16


def test_each_candidate_of_a_choice_has_its_cost_in_that_choice(tmp_path):
    model = opened(saved(tmp_path, ".onnx", norms=False))
    analysis = analysed(model)
    for budgets in (
        [(FLOPS, "0.5")],
        [(PARAMETERS, "0.7"), (FLOPS, "0.7")],
        [(BYTES, "0.8")],
    ):
        choice = chosen(model, analysis, *budgets)
        for each, candidate in zip(analysis.candidates, choice, strict=True):
            geometry = candidate.convolutions or (each.site.convolution,)
            assert candidate.macs == each.site.macs_of(geometry)
            numbers = [int(np.prod(one.weight_shape)) for one in geometry]
            assert candidate.parameters == sum(numbers)
        # what a layer gives is what the next one takes
        for path in analysis.paths.values():
            outputs = [
                _geometry(analysis, choice, name)[-1].out_channels
                for name in path.narrowed
            ]
            inputs = _geometry(analysis, choice, path.consumer)[0].in_channels
            assert set(outputs) == {inputs}


def test_the_least_budget_that_a_refusal_names_is_met_by_lost_channels(tmp_path):
    model = opened(saved(tmp_path, ".onnx", norms=False))
    analysis = analysed(model)
    with pytest.raises(Refusal) as refused:
        chosen(model, analysis, (FLOPS, "0.0001"))
    assert refused.value.code == Code.BUDGET_UNREACHABLE
    least = re.search(r"smallest reachable budget is ([\d.]+)", refused.value.detail)[1]
    choice = chosen(model, analysis, (FLOPS, f"{float(least) + 0.0001:.4f}"))
    assert any(each.form == "channels" for each in choice)
    with pytest.raises(Refusal):
        chosen(model, analysis.without_paths(), (FLOPS, least))


def _geometry(analysis, choice, name):
    for each, candidate in zip(analysis.candidates, choice, strict=True):
        if each.site.name == name:
            return candidate.convolutions or (each.site.convolution,)
    raise LookupError(name)


def test_an_analysis_that_is_kept_has_the_same_choice(tmp_path):
    path = saved(tmp_path, ".onnx", norms=True)
    kept = str(tmp_path / "kept")
    model = opened(path)
    first = analysed(model, kept_analysis=kept, largest_analysis=1 << 30)
    again = opened(path)
    second = analysed(again, analysis=kept)
    assert second.reused
    assert second.paths == first.paths
    assert chosen(again, second, (FLOPS, "0.6")) == chosen(model, first, (FLOPS, "0.6"))


def test_no_choice_is_predicted_to_be_worse_than_that_with_all_channels(tmp_path):
    model = opened(saved(tmp_path, ".onnx", norms=False))
    analysis = analysed(model)
    whole = analysis.without_paths()
    assert all(
        candidate.form != "channels"
        for each in whole.candidates
        for candidate in each.candidates
    )
    for share in ("0.9", "0.7", "0.6"):
        error = analysis.predicted_error(chosen(model, analysis, (FLOPS, share)))
        apart = whole.predicted_error(chosen(model, whole, (FLOPS, share)))
        assert error <= apart


def test_the_frontier_ends_with_the_original(tmp_path):
    model = opened(saved(tmp_path, ".onnx", norms=False))
    analysis = analysed(model)
    budget = BoundBudget.of(FLOPS.parse("0.6"), model, analysis.candidates)
    points = frontier(analysis, Objective((budget,)))
    assert len(points) > 5
    assert [point.macs for point in points] == sorted(point.macs for point in points)
    assert (points[-1].macs, points[-1].error) == (analysis.macs, 0)


@pytest.mark.parametrize("precision", ["float", "auto"])
def test_the_report_says_how_many_channels_stay(tmp_path, precision):
    source = saved(tmp_path, ".onnx", norms=True)
    output, report = tmp_path / "out.onnx", tmp_path / "report.json"
    request = Request(
        str(source),
        "onnx",
        str(output),
        str(report),
        {"flops_budget": "0.6"},
        input_range="-1,1",
        precision=precision,
    )
    compress(request, lambda *_: None)
    members = json.loads(report.read_text())
    assert members["keep"] <= 0.6
    lost = [site for site in members["sites"] if site["form"] == "channels"]
    # what int8 is worth is measured layer by layer, with all channels
    assert bool(lost) == (precision == "float")
    for site in lost:
        of, number, side = site["variant"].split()
        assert (of, side in ("inputs", "outputs")) == ("of", True)
        assert site["rank"] < int(number)
        assert site["rank"] in site["layers"][0]
    before, after = onnx.load(source), onnx.load(output)
    assert [each.name for each in after.graph.node] == [
        each.name for each in before.graph.node
    ] or not lost
    assert after.graph.output == before.graph.output
    onnx.checker.check_model(after, full_check=True)


@pytest.mark.parametrize("options", [{"form": "low-rank"}, {"rank": 2}])
def test_one_form_alone_keeps_all_channels(tmp_path, options):
    model = opened(saved(tmp_path, ".onnx", norms=False))
    analysis = analysed(model, calibration="none", **options)
    assert not analysis.paths
