"""An artifact beyond a limit is refused with the limit's code, and not handed to the worker."""

import dataclasses

import pytest
from digits import MODELS

from convpress.limits import Limits
from convpress.refusal import Code, Refusal
from worker.engine import pipeline
from worker.engine.request import Request
from worker.engine.stages.accepting import require_accepted


def request_in(folder, limits):
    return Request(
        str(MODELS / "residual.onnx"),
        "onnx",
        str(folder / "out.onnx"),
        str(folder / "report.json"),
        {"flops_budget": "0.5"},
        calibration="none",
        limits=limits,
    )


def test_a_model_just_below_a_limit_may_not_grow_beyond_it(tmp_path):
    most = dataclasses.replace(Limits(), nodes=20)
    with pytest.raises(Refusal, match="compressed model would be refused") as refusal:
        pipeline.compress(request_in(tmp_path, most), lambda *_: None)
    assert refusal.value.code == Code.MODEL_OVER_LIMIT
    assert refusal.value.field == "model"
    assert not (tmp_path / "report.json").exists()


def test_without_limits_nothing_is_looked_at(tmp_path):
    require_accepted(request_in(tmp_path, None))
