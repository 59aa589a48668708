"""Statistics of the inputs: a calibration, or the reason why there is none."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.engine.analyses import analysed

from convpress.refusal import Code, Refusal
from worker.engine.calibration import calibrate
from worker.engine.calibration.effort import RANGES_EFFORT
from worker.engine.calibration.harness import WeakCalibrationError
from worker.engine.calibration.inputs import samples_file
from worker.engine.calibration.statistics.covariance import MeasuredMoments
from worker.engine.model import CostProfile
from worker.engine.numerics.convolution import Convolution
from worker.engine.progress import Progress
from worker.engine.request import Request
from worker.engine.selection.input_statistics import (
    NOT_ASKED_FOR,
    Uncalibrated,
    error_weights,
    measure_statistics,
    moments_of,
    without_moments,
)

(SITE,) = analysed().sites
WIDE = Convolution((8, 513, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
SITES = (
    SITE,
    replace(SITE, name="stays", reason="a reason"),
    replace(SITE, name="wide", convolution=WIDE),
    replace(SITE, name="product", convolution=None),
)


@dataclass(frozen=True)
class Statistics:
    """A calibration, as far as it is looked at."""

    moments: MeasuredMoments
    program: str


def measured(effort=None, progress=None, phase="measuring", **members):
    opened = SimpleNamespace(
        model=SimpleNamespace(inputs=()),
        shapes={},
        profile=CostProfile(SITES, {}),
    )
    progress = progress or Progress(lambda *_: None)
    request = Request("", "onnx", "", "", **members)
    return measure_statistics(request, opened, progress, effort, phase=phase)


def test_a_request_may_turn_it_off():
    assert measured(calibration="none") == Uncalibrated(NOT_ASKED_FOR)


def test_sites_that_can_be_replaced_and_are_not_too_wide_are_measured(monkeypatch):
    names = []
    monkeypatch.setattr(
        calibrate,
        "calibrate",
        lambda model, shapes, convolutions, *_, **__: names.extend(convolutions),
    )
    measured()
    assert names == ["a"]


@pytest.mark.parametrize(("effort", "weight"), [(None, 12), (RANGES_EFFORT, 4)])
def test_the_present_phase_has_the_weight_of_the_work_on_its_images(
    monkeypatch, effort, weight
):
    monkeypatch.setattr(calibrate, "calibrate", lambda *_, weigh, **__: weigh(12))
    weights = {}
    progress = SimpleNamespace(weigh=weights.update)
    measured(effort, progress, "allocating")
    assert weights == {"allocating": pytest.approx(weight)}


def fail(*_, **__):
    raise WeakCalibrationError("its outputs do not depend on its inputs")


def test_a_model_that_teaches_nothing_is_compressed_by_its_weights(monkeypatch):
    monkeypatch.setattr(calibrate, "calibrate", fail)
    assert measured() == Uncalibrated("its outputs do not depend on its inputs")


def test_samples_that_cannot_be_used_are_refused(monkeypatch):
    monkeypatch.setattr(calibrate, "calibrate", fail)
    monkeypatch.setattr(samples_file, "read_samples", lambda *_: {})
    with pytest.raises(Refusal, match="do not depend on its inputs") as refused:
        measured(calibration="samples", samples="inputs.npz")
    assert refused.value.code == Code.SAMPLES_INVALID


def test_moments_are_those_of_the_site_where_there_are_any():
    moments = SimpleNamespace(by_site={"a": "moments"})
    statistics = SimpleNamespace(moments=moments)
    assert moments_of(statistics, SITE) == "moments"
    assert moments_of(statistics, replace(SITE, name="b")) is None
    assert moments_of(Uncalibrated("a reason"), SITE) is None


def test_statistics_without_moments_keep_the_rest():
    assert without_moments(Uncalibrated("a reason")) == Uncalibrated("a reason")
    moments = MeasuredMoments({"a": np.ones(1)}, {"norm": 1})
    bare = without_moments(Statistics(moments, "program"))
    assert bare == Statistics(MeasuredMoments({}, {"norm": 1}), "program")


def test_without_a_calibration_all_sites_weigh_the_same():
    assert error_weights(None, [], Uncalibrated("a reason"), print) == {}
