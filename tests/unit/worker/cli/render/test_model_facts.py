"""The facts of a model, of which some may be unknown."""

import json

import pytest
from support.service.rendering import HOSTILE, shown

from convpress.report import Inspection
from worker.cli import render
from worker.sandbox.account_parser import read

INSPECTION = {
    "format": "onnx",
    "inputs": [{"name": "x", "dtype": "float32", "shape": None}],
    "outputs": [{"name": HOSTILE, "dtype": "float32", "shape": "1x10"}],
    "parameters": 10,
    "bytes": 50,
    "macs": 1_500_000,
    "sites": [
        {
            "name": "c",
            "op": "Conv",
            "weight_shape": [1, 1, 3, 3],
            "macs": 1_500_000,
            "calls": 3,
            "reason": "grouped",
        }
    ],
    "uncounted": {"Relu": 3},
    "missing": None,
}


@pytest.mark.parametrize(
    "change",
    [{}, {"macs": None, "sites": [], "uncounted": {}, "missing": "give a shape"}],
)
def test_an_inspection_is_shown_whether_its_costs_are_known_or_not(change):
    record = read(Inspection, json.dumps(INSPECTION | change).encode())
    text = shown(render.overview(record), render.inspection(record))
    assert "x: float32 of unknown shape" in text
    assert "\x07" not in text
    assert ("1.50 M" in text and "Relu 3" in text and "grouped" in text) == (not change)


def test_a_tensor_without_axes_is_named_as_such():
    scalar = {"name": "y", "dtype": "float32", "shape": ""}
    record = Inspection.model_validate(INSPECTION | {"outputs": [scalar]})
    assert "y: float32 without axes" in shown(render.overview(record))
