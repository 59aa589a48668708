"""Counters grow by what is added, and histograms count a duration in its bucket."""

import pytest

from app.stats import counters


def test_amounts_add_up(session):
    counters.add(session, counters.of_success(10, {"loading": 0.3}))
    counters.add(session, counters.of_success(5, {"loading": 0.1}))
    sums = counters.read(session)
    assert sums["flops_saved", ""] == 30
    assert sums["phase", "loading 0.5"] == 1
    assert sums["phase", "loading 0.1"] == 1
    assert sums["phase", "loading sum"] == pytest.approx(0.4)


def test_forgotten_jobs_are_counted_by_state_and_code(session):
    counters.add(session, counters.of_forgotten("failed", "engine_error"))
    counters.add(session, counters.of_forgotten("succeeded", ""))
    sums = counters.read(session)
    assert sums == {
        ("forgotten", "failed engine_error"): 1,
        ("forgotten", "succeeded"): 1,
    }


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0.1), (0.1, 0.1), (0.11, 0.5), (1e9, float("inf"))]
)
def test_a_bucket_includes_its_bound(seconds, bucket):
    assert counters.bucket_of(seconds, counters.BUCKETS) == bucket
