"""Jobs in int8: alone, together with budgets, and where it cannot be had."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.onnx.text import written

from convpress import report as records
from convpress.refusal import Code, Refusal
from convpress.report import Report
from worker.engine.comparison_inputs import ComparisonInputs
from worker.engine.formats.adapter import Int8Layers
from worker.engine.model import Site
from worker.engine.numerics.convolution import Convolution
from worker.engine.pipeline import compress
from worker.engine.request import Request
from worker.engine.stages import quantising
from worker.engine.stages.int8_plan import Int8Plan
from worker.engine.stages.quantising import _depends_on_the_range, _with_precision
from worker.engine.stages.writing import WrittenArtifact

NET = """g (float[1, 8, 8, 8] x) => (float[1, 5] y)
<float[32, 8, 3, 3] w1, float[32] b1, float[32, 32, 3, 3] w2, float[32, 5] w3> {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    b = Relu(a)
    c = Conv <pads = [1, 1, 1, 1]> (b, w2)
    d = Relu(c)
    e = GlobalAveragePool(d)
    f = Flatten(e)
    y = Gemm(f, w3) }"""


IMAGES = np.random.default_rng(0).standard_normal((20, 8, 8, 8)).astype(np.float32)


def compressed(
    tmp_path, precision, budgets=None, *, text=NET, images=IMAGES, **options
):
    samples = tmp_path / "samples.npy"
    np.save(samples, images)
    request = Request(
        str(written(tmp_path, text)),
        options.pop("model_format", "onnx"),
        str(tmp_path / "out.onnx"),
        str(tmp_path / "report.json"),
        budgets or {},
        samples=str(samples),
        calibration=options.pop("calibration", "samples"),
        precision=precision,
        **options,
    )
    compress(request, lambda *_: None)
    return Report.model_validate(json.loads((tmp_path / "report.json").read_text()))


def test_int8_alone_needs_no_budget_and_is_accounted_for(tmp_path):
    report = compressed(tmp_path, "int8")
    assert report.precision == "int8"
    assert [site.int8 for site in report.sites] == [True] * 3
    assert {site.form for site in report.sites} == {"original"}
    assert {site.reason for site in report.sites} == {"no budget asks to factor it"}
    assert report.keep == 1
    assert report.before.integer_operations == 0
    assert report.after.integer_operations == report.after.flops == report.before.flops
    assert report.after.parameters == report.before.parameters
    assert report.after.bytes < 0.45 * report.before.bytes
    assert report.frontier == []
    assert report.verification.inputs == "samples, held out"
    assert 0 < report.verification.relative_error < 0.05
    # random weights tell no samples apart, which is a doubt
    assert report.risk.level == "moderate"


SHARED = """g (float[1, 8] x) => (float[1, 8] y)
<float[8, 8] w, float[8] b> {
    a = Gemm(x, w, b)
    y = Gemm(a, w) }"""


def test_int8_alone_applies_to_layers_that_cannot_be_factored(tmp_path):
    images = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)
    report = compressed(tmp_path, "int8", text=SHARED, images=images)
    assert report.after.integer_operations == 2 * 2 * 64
    # both uses of the weight are sites, and both are in int8
    assert [site.int8 for site in report.sites] == [True, True]
    is_larger = report.after.bytes > report.before.bytes
    assert is_larger == (report.budget["note"] is not None)
    assert is_larger
    with pytest.raises(Refusal) as refused:
        compressed(
            tmp_path, "int8", {"flops_budget": "0.5"}, text=SHARED, images=images
        )
    assert refused.value.code == Code.NOTHING_TO_COMPRESS


INTEGERS = """g (uint8[1, 16] x) => (int32[1, 16] y) <uint8[16, 16] w>
{ y = MatMulInteger(x, w) }"""


def test_layers_that_compute_with_integers_are_refused_before_ranges_are_measured(
    tmp_path,
):
    with pytest.raises(Refusal, match="from before its quantisation") as refused:
        compressed(tmp_path, "int8", text=INTEGERS)
    assert refused.value.code == Code.NOTHING_TO_COMPRESS


def test_a_budget_of_flops_is_met_by_layers_in_int8(tmp_path):
    report = compressed(tmp_path, "int8", {"flops_budget": "0.6"})
    assert report.keep <= 0.6
    factored = [site for site in report.sites if site.form != "original"]
    assert factored
    assert all(site.int8 for site in report.sites)
    # forms with groups have no version in int8
    assert {site.form for site in factored} <= {"spatial", "tucker2", "low-rank"}


@pytest.mark.parametrize("budget", ["0.9", "0.2"])
def test_auto_meets_a_budget_of_bytes_in_the_file(tmp_path, budget):
    report = compressed(tmp_path, "auto", {"bytes_budget": budget})
    allowed = float(budget) * report.before.bytes
    assert report.after.bytes <= allowed
    assert (tmp_path / "out.onnx").stat().st_size == report.after.bytes
    assert any(site.int8 for site in report.sites)
    stored = {t.data_type for t in onnx.load(tmp_path / "out.onnx").graph.initializer}
    assert onnx.TensorProto.INT8 in stored


def test_auto_stays_in_float_where_arithmetic_alone_counts(tmp_path):
    report = compressed(tmp_path, "auto", {"flops_budget": "0.6"})
    assert report.keep <= 0.6
    assert not any(site.int8 for site in report.sites)
    assert report.after.integer_operations == 0


def test_auto_returns_a_model_that_fits_as_it_is(tmp_path):
    report = compressed(tmp_path, "auto", {"bytes_budget": "1.0"})
    assert (tmp_path / "out.onnx").read_bytes() == (
        tmp_path / "model.onnx"
    ).read_bytes()
    assert "unchanged" in report.budget["note"]


@pytest.mark.parametrize(
    ("loss", "why_not", "reason"),
    [
        (0.3, None, "int8 loses too much at it"),
        (None, "int8 makes grouped layers slower", "int8 makes grouped layers slower"),
        (None, None, "int8 applies to stored weights of float32"),
    ],
)
def test_a_layer_in_float_says_why(loss, why_not, reason):
    site = records.Site(
        name="s",
        op="Conv",
        weight_shape=[8, 2, 3, 3],
        form="original",
        variant=None,
        rank=None,
        layers=[],
        macs_before=1,
        macs_after=1,
        error=None,
        reason="no budget asks to factor it",
    )
    losses = {} if loss is None else {"s": loss}
    after = _with_precision(site, Int8Layers((), losses), why_not)
    assert not after.int8
    assert after.int8_loss == loss
    assert after.reason.startswith(reason)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"model_format": "torchscript"}, "int8 is for ONNX models"),
        ({"calibration": "none"}, "calibration=none does not measure"),
    ],
)
def test_what_cannot_be_had_in_int8_is_refused(tmp_path, options, match):
    with pytest.raises(Refusal, match=match) as refused:
        compressed(tmp_path, "int8", **options)
    assert (refused.value.code, refused.value.field) == (
        Code.PRECISION_INVALID,
        "precision",
    )
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    ("groups", "ranges", "in_int8", "depends"),
    [
        (8, ["0 to 1", "0 to 255"], ["s"], True),
        (8, ["0 to 1"], ["s"], False),
        (8, ["0 to 1", "0 to 255"], [], False),
        (1, ["0 to 1", "0 to 255"], ["s"], False),
    ],
)
def test_depthwise_layers_in_int8_depend_on_the_range(groups, ranges, in_int8, depends):
    ones = (1, 1)
    weight = (8, 8 // groups, 3, 3)
    convolution = Convolution(weight, ones, ((1, 1), (1, 1)), ones, groups=groups)
    sites = [
        Site("s", "Conv", weight, 1, convolution, ()),
        Site("t", "Other", (8, 8), 1, None, ()),
    ]
    artifact = SimpleNamespace(
        calibration={"ranges": ranges},
        original=SimpleNamespace(profile=SimpleNamespace(sites=sites)),
    )
    assert _depends_on_the_range(artifact, Int8Layers(tuple(in_int8), {})) == depends


def test_the_error_of_activations_in_float_is_none_of_an_artifact_in_int8(
    tmp_path, monkeypatch
):
    writer = SimpleNamespace(write=lambda *_: Int8Layers((), {}))
    monkeypatch.setattr(quantising, "int8_writer", lambda _: writer)
    artifact = WrittenArtifact(
        original=SimpleNamespace(profile=SimpleNamespace(sites=())),
        **dict.fromkeys(("goal", "unchanged", "reused", "costs")),
        **dict.fromkeys(("predicted_error", "trusted_error", "frontier", "latency")),
        comparison_inputs=ComparisonInputs("synthetic", {}),
        sites=[],
        calibration={},
        held_out_error=0.1,
        int8=Int8Plan(None),
    )
    request = Request("", "onnx", str(tmp_path), "")
    assert quantising.quantise(request, artifact).held_out_error is None
    in_float = replace(artifact, int8=None)
    assert quantising.quantise(request, in_float).held_out_error == 0.1


DEPTHWISE = """g (float[1, 3, 32, 32] x) => (float[1, 8, 32, 32] y)
<float[8, 3, 3, 3] w1, float[8] b1, float[8, 1, 3, 3] w2> {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    b = Relu(a)
    y = Conv <pads = [1, 1, 1, 1], group = 8> (b, w2) }"""


@pytest.mark.slow
@pytest.mark.parametrize("input_range", [None, "0,1"])
def test_depthwise_layers_in_int8_for_an_unknown_range_are_a_doubt(
    tmp_path, input_range
):
    request = Request(
        str(written(tmp_path, DEPTHWISE)),
        "onnx",
        str(tmp_path / "out.onnx"),
        str(tmp_path / "report.json"),
        precision="int8",
        input_range=input_range,
    )
    compress(request, lambda *_: None)
    report = Report.model_validate(json.loads((tmp_path / "report.json").read_text()))
    assert any(site.int8 for site in report.sites)
    assert ("The range of the inputs' values is not known" in report.risk.text) == (
        input_range is None
    )
    if input_range is None:
        assert report.risk.level != "low"


def test_int8_alone_is_taken_where_it_meets_the_budgets_and_a_slower_choice_would_do(
    tmp_path,
):
    report = compressed(tmp_path, "auto", {"bytes_budget": "0.6"})
    assert [site.int8 for site in report.sites] == [True] * 3
    assert {site.form for site in report.sites} == {"original"}


SMALL = """g (float[1, 12] x) => (float[1, 12] y)
<float[12, 12] w1, float[12, 12] w2> {
    a = Gemm(x, w1)
    b = Relu(a)
    y = Gemm(b, w2) }"""


def test_auto_is_in_float_where_int8_takes_more_of_a_small_file_than_it_saves(tmp_path):
    images = np.random.default_rng(0).standard_normal((20, 12)).astype(np.float32)
    report = compressed(
        tmp_path, "auto", {"bytes_budget": "0.9"}, text=SMALL, images=images
    )
    assert report.after.bytes <= 0.9 * report.before.bytes
    assert not any(site.int8 for site in report.sites)
    assert report.budget["note"].startswith("no layer is in int8")
    with pytest.raises(Refusal) as refused:
        compressed(tmp_path, "auto", {"bytes_budget": "0.1"}, text=SMALL, images=images)
    assert refused.value.code == Code.BUDGET_UNREACHABLE


def test_auto_needs_a_budget(tmp_path):
    with pytest.raises(Refusal) as refused:
        compressed(tmp_path, "auto")
    assert refused.value.code == Code.BUDGET_MISSING


def test_auto_loses_no_more_than_float_at_a_model_in_float16(tmp_path):
    """Sites that stay in float beside int8 are written in float32, with twice the bytes."""
    half = NET.replace("float[", "float16[")
    budgets = {"bytes_budget": "60%"}
    errors = {}
    for precision in ("auto", "float"):
        images = IMAGES.astype(np.float16)
        report = compressed(tmp_path, precision, budgets, text=half, images=images)
        assert report.after.bytes <= 0.6 * report.before.bytes
        errors[precision] = report.predicted_error
    assert errors["auto"] <= errors["float"]


DENSE = """g (float[1, 64] x) => (float[1, 5] y)
<float[64, 64] w, float[64] b, float[64, 5] v> {
    a = Gemm(x, w, b)
    c = Relu(a)
    y = Gemm(c, v) }"""


def test_without_samples_auto_has_the_ranges_of_int8_alone(tmp_path):
    scales = []
    for precision, budgets in (("int8", {}), ("auto", {"bytes_budget": "0.6"})):
        request = Request(
            str(written(tmp_path, DENSE)),
            "onnx",
            str(tmp_path / "out.onnx"),
            str(tmp_path / "report.json"),
            budgets,
            precision=precision,
            input_range="-1,1",
        )
        compress(request, lambda *_: None)
        tensors = onnx.load(tmp_path / "out.onnx").graph.initializer
        own = [numpy_helper.to_array(each) for each in tensors]
        # weights have a scale for each output
        scales.append(
            [
                float(each)
                for each in own
                if each.shape == () and each.dtype == np.float32
            ]
        )
    assert len(scales[0]) == 2
    assert scales[0] == scales[1]
