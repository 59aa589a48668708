"""Whose request it was can be seen to the end: by its id in every process' log, by one trace over
all of them.
"""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from support.service.running_service import serving, wait_for

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def collector():
    """An OpenTelemetry collector: its address, and the spans that have come, by service."""
    spans = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/traces"
            sent = ExportTraceServiceRequest.FromString(
                self.rfile.read(int(self.headers["Content-Length"]))
            )
            for resource in sent.resource_spans:
                [name] = [
                    each.value.string_value
                    for each in resource.resource.attributes
                    if each.key == "service.name"
                ]
                spans.extend(
                    (name, span)
                    for scope in resource.scope_spans
                    for span in scope.spans
                )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", spans
        server.shutdown()


@contextmanager
def spans_sent_at_once():
    """Have the processes that are started in the block send their spans five times a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory, collector):
    """A job that was posted with an id and a trace of the caller's; it, the log's lines and the
    spans.
    """
    url, spans = collector
    data_dir = tmp_path_factory.mktemp("origin") / "data"
    with spans_sent_at_once(), serving(data_dir, otlp_endpoint=url) as service:
        service.http.headers.update(
            {"X-Request-ID": "deploy-7", "traceparent": f"00-{TRACE}-{CALLER}-01"}
        )
        job = service.post()
        for name in ("X-Request-ID", "traceparent"):
            del service.http.headers[name]
        job = service.wait(job["id"])
        assert job["state"] == "succeeded"
        last = {"POST /jobs", "job"}
        wait_for(
            lambda: last <= {span.name for _, span in spans}, "the last span of each"
        )
    lines = [
        json.loads(line)
        for line in (data_dir / "service.log").read_text().splitlines()
        if line.startswith("{")
    ]
    return (
        job,
        lines,
        [(name, span) for name, span in spans if span.trace_id.hex() == TRACE],
    )


def test_the_id_of_a_request_is_in_every_line_that_it_leads_to(done):
    job, lines, _ = done
    own = [line for line in lines if line.get("request_id") == "deploy-7"]
    assert {line["event"] for line in own} == {
        "accepted",
        "request",
        "claimed",
        "ended",
    }
    assert {line["job_id"] for line in own if line["event"] != "request"} == {job["id"]}


def test_a_job_is_one_trace_from_the_callers_to_the_engines_phases(done):
    job, _, spans = done
    by_name = {span.name: (service, span) for service, span in spans}
    request = by_name["POST /jobs"][1]
    queue = by_name["queue"][1]
    work = by_name["job"][1]
    assert {
        name: by_name[name][0] for name in ("POST /jobs", "queue", "job", "loading")
    } == {
        "POST /jobs": "convpress-api",
        "queue": "convpress-worker",
        "job": "convpress-worker",
        "loading": "convpress-worker",
    }
    assert request.parent_span_id.hex() == CALLER
    assert queue.parent_span_id == work.parent_span_id == request.span_id
    phases = [
        by_name[name][1]
        for name in (
            "loading",
            "factoring",
            "allocating",
            "rewriting",
            "verifying",
            "storing",
        )
    ]
    for earlier, later in pairwise(phases):
        assert earlier.parent_span_id == later.parent_span_id == work.span_id
        assert (
            work.start_time_unix_nano
            <= earlier.start_time_unix_nano
            < earlier.end_time_unix_nano
        )
        # two clocks differ by up to a millisecond
        assert earlier.end_time_unix_nano <= later.start_time_unix_nano + 1_000_000
    attributes = {each.key: each.value.string_value for each in work.attributes}
    assert attributes["convpress.job_id"] == job["id"]
