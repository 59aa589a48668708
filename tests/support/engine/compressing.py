"""Whole compressions of sample models, for tests of the engine."""

import json

from digits import MODELS

from convpress.budgets import KINDS
from convpress.gate.identify import identify
from support.onnx.text import written
from worker.engine.pipeline import compress
from worker.engine.request import Request


def compressed(folder, name, **options):
    """Compress a sample model, and return the artifact's path, the report and all progress.

    There is no calibration, which takes seconds, unless an option asks for it.
    """
    source = MODELS / name
    output = folder / f"out{source.suffix}"
    report = folder / "report.json"
    options = {"input_shape": "1x1x16x16", "calibration": "none"} | options
    budgets = {field: options.pop(field) for field in KINDS if field in options}
    steps = []
    request = Request(
        str(source), identify(source), str(output), str(report), budgets, **options
    )
    compress(request, lambda phase, fraction: steps.append((phase, fraction)))
    return output, json.loads(report.read_text()), steps


def compress_text(tmp_path, text, **options):
    request = Request(
        str(written(tmp_path, text)),
        "onnx",
        str(tmp_path / "out.onnx"),
        str(tmp_path / "report.json"),
        {"flops_budget": "0.6"},
        calibration="none",
        **options,
    )
    compress(request, lambda *_: None)
    return json.loads((tmp_path / "report.json").read_text())
