"""What a request leads to, from one process to the next: its id in every log, and one trace where that is set.

The row of a job carries both on. Without `CONVPRESS_OTLP_ENDPOINT` OpenTelemetry is not even imported.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal

from app.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

Kind = Literal["server", "consumer", "internal"]
Attributes = Mapping[str, str | int]

current_request: ContextVar[str | None] = ContextVar("current_request", default=None)
"""The id of the request that is served."""

_tracer: "Tracer | None" = None


class TracingMissing(Exception):
    """Traces are asked for, and what makes them is not installed."""


def configure_tracing(settings: Settings, part: str) -> None:
    """Send traces of this process, which is `part` of the service, to the collector of the settings, if there is one.

    Raises:
        TracingMissing: the extra `otel` is not installed.
    """
    global _tracer
    if settings.otlp_endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingMissing(
            f"CONVPRESS_OTLP_ENDPOINT needs pip install 'convpress[otel]': {error}"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": f"convpress-{part}"}))
    exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("convpress")


@contextmanager
def span(
    name: str,
    *,
    kind: Kind = "internal",
    parent: str | None = None,
    attributes: Attributes | None = None,
) -> "Iterator[Span | None]":
    """Trace the block, under the `traceparent` of another process if one is given; None where nothing is traced."""
    if _tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(
        name, _context(parent), SpanKind[kind.upper()], attributes=attributes
    ) as started:
        yield started


def record(name: str, began: float, ended: float, *, parent: str | None = None) -> None:
    """Trace what has happened already, between two times in seconds since 1970."""
    if _tracer is not None:
        _tracer.start_span(name, _context(parent), start_time=int(began * 1e9)).end(
            int(ended * 1e9)
        )


def traceparent() -> str | None:
    """Return what another process continues this trace by; None where nothing is traced."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def _context(parent: str | None) -> "Context | None":
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})
