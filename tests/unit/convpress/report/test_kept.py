"""The shares that a job kept, whatever its report knows."""

import json

import pytest
from support.service.fake_engine import REPORT

from convpress.report import Report, bytes_kept, macs_kept, parameters_kept, time_kept

SPREAD = {"lower_quartile_ms": 1.0, "upper_quartile_ms": 9.0}


def report(**changes):
    return Report.model_validate_json(json.dumps(REPORT | changes))


def latency(before, after):
    rest = {
        "unpriced_sites": 0,
        "runtime": "onnxruntime",
        "host": "cpu",
        "table_sha256": "0" * 64,
    }
    return {"predicted_before_ms": before, "predicted_after_ms": after, **rest}


def timing(before, after):
    runs = [
        {"runs": 3, "processor": {"median_ms": median, **SPREAD}, "clock": None}
        for median in (before, after)
    ]
    rest = {
        "method": "in turn",
        "threads": 1,
        "runtime": "onnxruntime",
        "busy": True,
        "note": "n",
    }
    return {"before": runs[0], "after": runs[1], **rest}


def costs(**changes):
    return {
        side: REPORT[side] | {name: pair[index] for name, pair in changes.items()}
        for index, side in enumerate(("before", "after"))
    }


def test_parameters_and_bytes_are_those_of_the_files():
    kept = report(**costs(parameters=(200, 50), bytes=(1000, 900)))
    assert (parameters_kept(kept), bytes_kept(kept)) == (0.25, 0.9)
    assert macs_kept(kept) == kept.keep


def test_a_model_without_parameters_keeps_none():
    assert parameters_kept(report(**costs(parameters=(0, 0)))) == 0


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"latency": latency(10.0, 4.0), "timing": timing(8.0, 6.0)}, 0.4),
        ({"latency": None, "timing": timing(8.0, 6.0)}, 0.75),
        ({"latency": None, "timing": None, **costs(latency_ms=(5.0, 4.0))}, 0.8),
        ({"latency": latency(10.0, None), "timing": None}, 0.0),
    ],
)
def test_time_is_by_the_cost_table_and_else_as_measured(changes, share):
    assert time_kept(report(**changes)) == pytest.approx(share)


@pytest.mark.parametrize(
    "changes",
    [
        {"latency": latency(0.0, 0.0), "timing": None},
        {"latency": latency(None, None), "timing": timing(8.0, 6.0)},
        {"latency": None, "timing": None, **costs(latency_ms=(None, None))},
    ],
)
def test_without_any_time_it_is_the_share_of_the_multiply_accumulates(changes):
    kept = report(**changes)
    assert time_kept(kept) == kept.keep
