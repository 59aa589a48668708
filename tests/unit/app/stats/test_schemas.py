"""Statistics as JSON: the age of the queue, and histograms by their bounds."""

from datetime import UTC, datetime, timedelta

import pytest

from app.stats import queries, schemas
from app.stats.counters import BUCKETS, REQUEST_BUCKETS

AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
STATES = {"queued": 0, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0}
STORED = {"models": 1, "analyses": 0, "samples": 0, "evaluations": 0, "artifacts": 2}


def jobs(oldest):
    return queries.Jobs(
        states=STATES, oldest_queued_at=oldest, failures={}, stored_bytes=STORED
    )


@pytest.mark.parametrize(
    ("oldest", "age"),
    [
        (None, None),
        (AT - timedelta(seconds=90), 90.0),
        # a clock was set back
        (AT + timedelta(seconds=5), 0.0),
    ],
)
def test_the_age_of_the_queue_is_never_negative(oldest, age):
    assert schemas.queue_age(AT, jobs(oldest)) == age


def test_an_owner_has_no_statistics_of_the_service():
    bucket = queries.Bucket(AT, 3, {"succeeded": 1, "failed": 2, "cancelled": 0})
    stats = schemas.Stats.of(AT, jobs(None), [bucket], None)
    assert stats.service is None
    assert stats.stored_bytes.artifacts == 2
    assert [(each.created, each.failed) for each in stats.history] == [(3, 2)]


def test_a_histogram_names_its_bounds():
    phases = {"loading": queries.Histogram(tuple(range(len(BUCKETS))), 0.7)}
    counts = tuple(range(len(REQUEST_BUCKETS)))
    requests = {("GET", "/jobs", "200"): queries.Histogram(counts, 0.3)}
    service = queries.Service((), 0, 0, 0, {}, phases, 8.0, requests, {})
    stats = schemas.Stats.of(AT, jobs(None), [], service).service
    assert stats.phases["loading"].at_most["0.1"] == 0
    assert stats.phases["loading"].at_most["3600"] == len(BUCKETS) - 2
    assert stats.phases["loading"].count == len(BUCKETS) - 1
    [request] = stats.requests
    assert (request.status, request.seconds) == (200, 0.3)
    assert (request.at_most["0.005"], request.at_most["inf"]) == (0, counts[-1])
