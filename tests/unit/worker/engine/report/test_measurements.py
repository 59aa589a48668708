"""What was measured, as a report has it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.engine.analyses import analysed

from worker.engine.comparison_inputs import ComparisonInputs
from worker.engine.report import measurements
from worker.engine.report.measurements import UNWEIGHTED
from worker.engine.timing import RunTimes, Spread, Timings
from worker.engine.verify import Comparison


def spread(median):
    return Spread(median, median - 0.1, median + 0.1)


def timings(clock):
    times = RunTimes(runs=5, processor=spread(1.00001), clock=spread(clock))
    return Timings(original=times, artifact=times, threads=1, in_turn=True)


def test_times_are_rounded_and_those_of_a_busy_host_left_out():
    record = measurements.timing("onnx", timings(1.00001))
    assert (record.method, record.busy, record.note) == ("in turn", False, None)
    assert record.before.clock.median_ms == 1.0
    assert record.runtime.startswith("onnxruntime ")
    busy = measurements.timing("onnx", timings(9.0))
    assert busy.busy
    assert busy.note
    assert busy.after.clock is None
    assert busy.after.processor.median_ms == 1.0


def calibrated(weights):
    members = {"kind": "synthetic", "notes": []}
    statistics = SimpleNamespace(report_members=members)
    return replace(analysed(), calibration=statistics, weights=weights)


def refit(after, reason=None):
    return SimpleNamespace(
        refitted=after is not None, error_before=0.2, error_after=after, reason=reason
    )


@pytest.mark.parametrize(
    ("weights", "choice", "expected"),
    [
        ({"a": 1.0}, None, {"notes": []}),
        (
            {"a": 1.0},
            refit(0.1),
            {
                "notes": [],
                "refitted": True,
                "held_out_error": {"closed_form": 0.2, "refitted": 0.1},
            },
        ),
        (
            {},
            refit(None, "too large"),
            {
                "notes": [UNWEIGHTED, "not refitted: too large"],
                "refitted": False,
                "held_out_error": {"closed_form": 0.2},
            },
        ),
    ],
)
def test_a_calibration_has_the_members_that_apply(weights, choice, expected):
    members = measurements.calibration(calibrated(weights), choice)
    assert members == {"kind": "synthetic", **expected}


def test_without_a_calibration_there_is_a_reason():
    members = measurements.calibration(analysed(), None)
    assert members == {"kind": "none", "reason": "the request asks for no calibration"}


def comparison(error):
    return Comparison(
        outputs=("y",),
        relative_error=error,
        agreement=1 - error,
        finite=True,
        spread_error=error / 2,
    )


GROUPS = {"0 to 1": comparison(0.1), "-1 to 1": comparison(0.3)}


def verified(source):
    inputs = ComparisonInputs(source, {"0 to 1": [{}, {}], "-1 to 1": [{}]})
    return measurements.verification(GROUPS, inputs)


def test_the_worst_group_counts_and_each_is_listed():
    record = verified("synthetic")
    assert (record.runs, record.relative_error, record.agreement) == (3, 0.3, 0.7)
    assert [(group.name, group.runs) for group in record.groups] == [
        ("0 to 1", 2),
        ("-1 to 1", 1),
    ]


def test_noise_tells_nothing_of_classes():
    record = verified("noise")
    assert record.inputs == "standard normal"
    assert (record.agreement, record.spread_error, record.groups) == (None, None, [])


def test_the_engine_has_its_versions_and_seconds():
    record = measurements.engine("onnx", {"loading": 0.12345}, reused=True)
    assert record.seconds == {"loading": 0.123}
    assert {"python", "convpress", "numpy", "onnx"} <= record.versions.keys()
    assert record.analysis_reused
