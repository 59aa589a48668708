"""The models of onnx's own backend tests: each comes back compressed and correct, untouched, or is
told why not.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.engine.chains import split_exactly
from support.onnx.text import distance, outputs

from convpress.refusal import Code, Refusal
from worker.engine.formats import open_model
from worker.engine.numerics.random_inputs import random_inputs
from worker.engine.pipeline import compress
from worker.engine.request import Request

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
LARGE_MATRIX = 2048  # of a fully connected layer, too large to be rotated in a test


def has_layers(path):
    return bool(
        LAYERS
        & {
            node.op_type
            for node in onnx.load(path, load_external_data=False).graph.node
        }
    )


SMALL = sorted(
    path
    for kind in ("pytorch-*", "simple")
    for path in DATA.glob(f"{kind}/*/model.onnx")
    if has_layers(path)
)
LIGHT = sorted(DATA.glob("light/*.onnx"))
# Hundreds of megabytes each.
LARGE = ("alexnet", "vgg19", "zfnet512")
# What these have instead of layers whose weights are known, or what ONNX Runtime does not run.
LEFT = {
    "test_Linear": "before opset 7",
    "test_Linear_no_bias": "before opset 7",
    "test_operator_addmm": "two activations",
    "test_operator_mm": "two activations",
}


def name(path):
    return path.stem if path.parent.name == "light" else path.parent.name


def marks_of(path):
    is_large = any(large in path.stem for large in LARGE)
    return pytest.mark.long if is_large else pytest.mark.slow


def check_identity(path, folder):
    """Replace every layer by its equal, and compare; return the reasons why some could not be."""
    opened = open_model("onnx", path)
    shapes = opened.bind(None)
    count = opened.count(shapes)
    assert count.sites
    assert count.macs > 0
    for site in count.sites:
        if site.reason is None:
            layer = opened.layer(site)
            opened.replace(
                site,
                [layer]
                if max(site.weight_shape) > LARGE_MATRIX
                else split_exactly(layer),
            )
    if any(site.reason is None for site in count.sites):
        opened.save(folder / "after.onnx")
        onnx.checker.check_model(str(folder / "after.onnx"), full_check=True)
        inputs = random_inputs(opened.inputs, shapes)
        for actual, expected in zip(
            outputs(folder / "after.onnx", inputs), outputs(path, inputs), strict=True
        ):
            assert distance(actual, expected) <= 1e-4
    return {site.reason for site in count.sites if site.reason}


def check_budget(path, folder):
    """Compress to 0.6: the budget is kept, or it is said why nothing can be done."""
    request = Request(
        str(path),
        "onnx",
        str(folder / "out.onnx"),
        str(folder / "report.json"),
        {"flops_budget": "0.6"},
        calibration="none",
    )
    try:
        compress(request, lambda *_: None)
    except Refusal as refusal:
        if refusal.code not in (Code.BUDGET_UNREACHABLE, Code.NOTHING_TO_COMPRESS):
            raise
        return
    report = json.loads((folder / "report.json").read_text())
    assert report["keep"] <= 0.6
    onnx.checker.check_model(str(folder / "out.onnx"), full_check=True)
    inputs = random_inputs(
        open_model("onnx", path).inputs, open_model("onnx", path).bind(None)
    )
    assert all(
        np.isfinite(output).all() for output in outputs(folder / "out.onnx", inputs)
    )


@pytest.mark.parametrize("path", SMALL, ids=name)
def test_small_models_keep_their_outputs(tmp_path, path):
    reasons = check_identity(path, tmp_path)
    expected = LEFT.get(name(path))
    assert (
        (not reasons)
        if expected is None
        else all(expected in reason for reason in reasons)
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", SMALL, ids=name)
def test_small_models_meet_a_budget_or_say_why_not(tmp_path, path):
    check_budget(path, tmp_path)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=marks_of(path)) for path in LIGHT],
    ids=name,
)
def test_whole_networks_keep_their_outputs_and_meet_a_budget(tmp_path, path):
    assert check_identity(path, tmp_path) == set()
    check_budget(path, tmp_path)
