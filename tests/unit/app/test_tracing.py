"""Traces cost nothing where nobody wants them, and are refused where they could not be made."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from app import tracing
from app.settings import Settings


def test_without_a_collector_nothing_is_traced_or_imported():
    code = """
import sys
from app import tracing
from app.settings import get_settings
tracing.configure_tracing(get_settings(), "api")
with tracing.span("x", parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") as span:
    tracing.record("y", 0.0, 1.0)
    loaded = [name for name in sys.modules if name.startswith("opentelemetry")]
    print(span, tracing.traceparent(), loaded)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={}
    )
    assert done.stdout.strip() == "None None []"


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(
        tracing.TracingMissing, match=r"pip install 'convpress\[otel\]'"
    ):
        tracing.configure_tracing(
            Settings(otlp_endpoint="http://127.0.0.1:4318"), "api"
        )


def test_a_collector_has_an_address():
    with pytest.raises(ValidationError, match="http://HOST:4318"):
        Settings(otlp_endpoint="collector:4318")
