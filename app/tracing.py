"""Request ids and OpenTelemetry traces, across processes.

A job's row carries both from the API to the worker. OpenTelemetry is imported only where
`CONVPRESS_OTLP_ENDPOINT` is set.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal

from app.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

SpanRole = Literal["server", "consumer", "internal"]
Attributes = Mapping[str, str | int]

current_request: ContextVar[str | None] = ContextVar("current_request", default=None)
"""The id of the request that is being served."""

# Our own, and not the global one of OpenTelemetry, so that None switches all of it off.
_tracer: "Tracer | None" = None


class TracingMissing(Exception):
    """The settings ask for traces, but OpenTelemetry is not installed."""


def configure_tracing(settings: Settings, part: str) -> None:
    """Send traces to the collector of the settings, if there is one.

    `part` names this process in traces: `convpress-<part>`.

    Raises:
        TracingMissing: the extra `otel` is not installed.
    """
    global _tracer
    if settings.otlp_endpoint is None:
        return
    # Imported here: it takes long, and it is an extra that many installations lack.
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingMissing(
            f"CONVPRESS_OTLP_ENDPOINT needs pip install 'convpress[otel]': {error}"
        ) from error
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"convpress-{part}"})
    )
    # The exporter appends the path to the variable of OpenTelemetry alone, not to an argument.
    exporter = OTLPSpanExporter(
        endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces"
    )
    # A thread sends the spans: a slow collector delays no request and no job.
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("convpress")


@contextmanager
def span(
    name: str,
    *,
    kind: SpanRole = "internal",
    parent: str | None = None,
    attributes: Attributes | None = None,
) -> "Iterator[Span | None]":
    """Trace the block, as a child of `parent`, another process's `traceparent`.

    Yields the span, or None where nothing is traced.
    """
    if _tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(
        name, _context(parent), SpanKind[kind.upper()], attributes=attributes
    ) as started:
        yield started


def record(name: str, began: float, ended: float, *, parent: str | None = None) -> None:
    """Trace a past period, between two times in seconds since 1970."""
    if _tracer is None:
        return
    started = _tracer.start_span(name, _context(parent), start_time=_nanoseconds(began))
    started.end(_nanoseconds(ended))


def traceparent() -> str | None:
    """Return the `traceparent` that continues this trace elsewhere, or None without traces."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import (
        TraceContextTextMapPropagator,
    )

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _context(parent: str | None) -> "Context | None":
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import (
        TraceContextTextMapPropagator,
    )

    return TraceContextTextMapPropagator().extract({"traceparent": parent})
