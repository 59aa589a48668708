"""The figures as Prometheus reads them; their names are stable."""

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

_NONE_FINISHED: dict[tuple[State, str], int] = {
    ("succeeded", ""): 0,
    ("cancelled", ""): 0,
    **{("failed", str(code)): 0 for code in Code},
}
"""A counter that appears with its first event has not grown, to Prometheus."""


class _Snapshot(Collector):
    """The figures of one moment."""

    def __init__(self, jobs: Jobs, service: Service, queue_age: float) -> None:
        self._jobs, self._service, self._queue_age = jobs, service, queue_age

    def collect(self) -> Iterator[Metric]:
        """Tell each figure."""
        jobs, service = self._jobs, self._service
        yield InfoMetricFamily("convpress_build", "The version that answers", {"version": VERSION})
        yield _gauges(
            "convpress_jobs",
            "Jobs that are known",
            "state",
            {str(state): count for state, count in jobs.states.items()},
        )
        yield _gauge(
            "convpress_queue_age_seconds",
            "How long the first job in the queue has waited",
            self._queue_age,
        )
        yield _gauge(
            "convpress_workers",
            "Workers that have shown themselves within a minute",
            len(service.workers),
        )
        slots = sum(worker.slots for worker in service.workers)
        yield _gauge("convpress_worker_slots", "Jobs that these workers can run at a time", slots)
        yield _gauge("convpress_leases", "Jobs that are held by a worker", service.leases)
        yield _gauge(
            "convpress_leases_overdue",
            "Leases that have run out and are not returned",
            service.overdue_leases,
        )
        yield _gauge(
            "convpress_webhooks_due", "Webhooks that wait to be called", service.due_webhooks
        )
        yield _gauges(
            "convpress_stored_bytes", "Bytes of the files that are kept", "kind", jobs.stored_bytes
        )
        finished = CounterMetricFamily(
            "convpress_jobs_finished",
            "Jobs that have ended, and the code of why they failed",
            labels=("state", "code"),
        )
        for (state, code), count in sorted({**_NONE_FINISHED, **service.finished}.items()):
            finished.add_metric((state, code), count)
        yield finished
        yield CounterMetricFamily(
            "convpress_flops_saved", "FLOPs that artifacts need less", service.flops_saved
        )
        yield _histograms(
            "convpress_phase_seconds",
            "How long the phases of jobs that have succeeded took",
            ("phase",),
            (((phase,), times) for phase, times in service.phases.items()),
            BUCKETS,
        )
        yield _histograms(
            "convpress_http_request_seconds",
            "How long requests took until their answer began, without what they asked to be held",
            ("method", "route", "status"),
            service.requests.items(),
            REQUEST_BUCKETS,
        )


def registry(jobs: Jobs, service: Service, queue_age: float) -> CollectorRegistry:
    """Return what Prometheus' own library writes out; `queue_age` is in seconds."""
    collected = CollectorRegistry()
    collected.register(_Snapshot(jobs, service, queue_age))
    return collected


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value)


def _gauges(name: str, documentation: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _histograms(
    name: str,
    documentation: str,
    labels: Sequence[str],
    told: Iterable[tuple[Sequence[str], Histogram]],
    bounds: Sequence[float],
) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=labels)
    named = [*map(str, bounds[:-1]), "+Inf"]
    for values, times in told:
        family.add_metric(values, list(zip(named, times.at_most, strict=True)), times.total)
    return family
