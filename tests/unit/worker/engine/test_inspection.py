"""Inspections: with costs, without them, and those that a compression leaves."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from digits import MODELS
from support.engine.compressing import compressed

from convpress.limits import Limits
from convpress.refusal import Code, Refusal
from worker.engine.pipeline import compress, inspect
from worker.engine.progress import Progress
from worker.engine.report import file
from worker.engine.request import Request
from worker.engine.stages.dequantising import FloatFile
from worker.engine.stages.opening import open_for_compression


def test_a_torchscript_file_needs_a_shape_and_inspection_says_so(tmp_path):
    with pytest.raises(Refusal) as refused:
        compressed(tmp_path, "plain.scripted.pt", flops_budget="0.5", input_shape=None)
    assert refused.value.code == Code.INPUT_SHAPE_REQUIRED
    request = Request(
        str(MODELS / "plain.scripted.pt"),
        "torchscript",
        "",
        str(tmp_path / "inspection.json"),
    )
    inspect(request, lambda *_: None)
    inspection = json.loads((tmp_path / "inspection.json").read_text())
    assert inspection["macs"] is None
    assert "size" in inspection["missing"]


@pytest.mark.parametrize(
    ("budget", "ending"), [("0.5", nullcontext()), ("0.0001", pytest.raises(Refusal))]
)
def test_a_compression_leaves_the_inspection_however_it_ends(tmp_path, budget, ending):
    source = str(MODELS / "plain.onnx")
    target = str(tmp_path / "told.json")
    alone = Request(source, "onnx", "", str(tmp_path / "alone.json"))
    asked = replace(
        alone,
        output=str(tmp_path / "out"),
        budgets={"flops_budget": budget},
        calibration="none",
        inspection=target,
    )
    with ending:
        compress(asked, lambda *_: None)
    inspect(alone, lambda *_: None)
    assert json.loads((tmp_path / "told.json").read_text()) == json.loads(
        (tmp_path / "alone.json").read_text()
    )


@pytest.mark.parametrize(("limit", "what"), [(2, "layers"), (1, "inputs")])
def test_a_model_that_no_report_can_list_is_refused(tmp_path, limit, what):
    limits = Limits(nodes=limit)
    request = Request(
        str(MODELS / "plain.onnx"),
        "onnx",
        "",
        str(tmp_path / "told.json"),
        limits=limits,
    )
    source = Path(request.model)
    progress = Progress(lambda *_: None)
    with pytest.raises(Refusal) as refused:
        open_for_compression(request, source, FloatFile(source), progress)
    assert refused.value.code == Code.MODEL_OVER_LIMIT
    assert what in refused.value.got


def test_long_texts_of_a_model_are_cut_to_what_a_reader_accepts(tmp_path):
    path = tmp_path / "report.json"
    file.write(
        str(path),
        {"sites": [{"name": "x" * 5000, "rank": 2}], "uncounted": {"y" * 4001: 1}},
    )
    members = json.loads(path.read_text())
    assert members["sites"] == [{"name": "x" * 3999 + "…", "rank": 2}]
    assert members["uncounted"] == {"y" * 3999 + "…": 1}
