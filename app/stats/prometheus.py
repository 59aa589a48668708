"""The statistics as Prometheus reads them; metric names are stable."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.openapi import VERSION
from app.stats.counters import BUCKETS, REQUEST_BUCKETS
from app.stats.queries import Histogram, Jobs, Service
from convpress.refusal import Code
from convpress.states import State

# Prometheus sees no increase in a counter whose first value is already above zero.
_NONE_FINISHED: dict[tuple[State, str], int] = {
    ("succeeded", ""): 0,
    ("cancelled", ""): 0,
    **{("failed", str(code)): 0 for code in Code},
}


class _Snapshot(Collector):
    """The statistics of one moment."""

    def __init__(self, jobs: Jobs, service: Service, queue_age: float) -> None:
        self._jobs = jobs
        self._service = service
        self._queue_age = queue_age

    def collect(self) -> Iterator[Metric]:
        """Yield each metric."""
        yield InfoMetricFamily(
            "convpress_build", "Version that answers", {"version": VERSION}
        )
        yield from _job_metrics(self._jobs, self._queue_age)
        yield from _worker_metrics(self._service)
        yield from _total_metrics(self._service)
        yield from _duration_metrics(self._service)


def registry(jobs: Jobs, service: Service, queue_age: float) -> CollectorRegistry:
    """Return the metrics for Prometheus's own encoder; `queue_age` is in seconds."""
    collected = CollectorRegistry()
    collected.register(_Snapshot(jobs, service, queue_age))
    return collected


def _job_metrics(jobs: Jobs, queue_age: float) -> Iterator[Metric]:
    states = {str(state): count for state, count in jobs.states.items()}
    yield _gauges("convpress_jobs", "Known jobs", "state", states)
    yield _gauge(
        "convpress_queue_age_seconds", "Wait of the first job in the queue", queue_age
    )
    yield _gauges(
        "convpress_stored_bytes", "Bytes of stored files", "kind", jobs.stored_bytes
    )


def _worker_metrics(service: Service) -> Iterator[Metric]:
    slots = sum(worker.slots for worker in service.workers)
    yield _gauge(
        "convpress_workers", "Workers seen in the last minute", len(service.workers)
    )
    yield _gauge(
        "convpress_worker_slots", "Jobs that these workers can run at a time", slots
    )
    yield _gauge("convpress_leases", "Jobs that a worker holds", service.leases)
    yield _gauge(
        "convpress_leases_overdue",
        "Leases that have run out and are not returned yet",
        service.overdue_leases,
    )
    yield _gauge(
        "convpress_webhooks_due",
        "Webhooks that wait to be called",
        service.due_webhooks,
    )


def _total_metrics(service: Service) -> Iterator[Metric]:
    finished = CounterMetricFamily(
        "convpress_jobs_finished",
        "Jobs that have ended, with the code of failures",
        labels=("state", "code"),
    )
    counts = {**_NONE_FINISHED, **service.finished}
    for labels, count in sorted(counts.items()):
        finished.add_metric(labels, count)
    yield finished
    failures = CounterMetricFamily(
        "convpress_loop_failures",
        "Failures of the loops that run as long as their process, which go on after them",
        labels=("loop", "error"),
    )
    for loop_and_error, count in sorted(service.loop_failures.items()):
        failures.add_metric(loop_and_error, count)
    yield failures
    yield CounterMetricFamily(
        "convpress_flops_saved",
        "FLOPs that one run of every artifact saves",
        service.flops_saved,
    )


def _duration_metrics(service: Service) -> Iterator[Metric]:
    phases = [((phase,), durations) for phase, durations in service.phases.items()]
    yield _histograms(
        "convpress_phase_seconds",
        "Duration of the phases of jobs that have succeeded",
        ("phase",),
        phases,
        BUCKETS,
    )
    yield _histograms(
        "convpress_http_request_seconds",
        "Time until an answer began, without the time that `wait` asked for",
        ("method", "route", "status"),
        service.requests.items(),
        REQUEST_BUCKETS,
    )


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value)


def _gauges(
    name: str, documentation: str, label: str, values: Mapping[str, float]
) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _histograms(
    name: str,
    documentation: str,
    labels: Sequence[str],
    series: Iterable[tuple[Sequence[str], Histogram]],
    bounds: Sequence[float],
) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=labels)
    # Prometheus's own spelling of infinity.
    bound_names = [*map(str, bounds[:-1]), "+Inf"]
    for values, durations in series:
        buckets = list(zip(bound_names, durations.at_most, strict=True))
        family.add_metric(values, buckets, durations.total)
    return family
