"""The metrics, as Prometheus reads them."""

import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_metrics_are_what_prometheus_reads(client_of, session, filled, accept):
    answer = client_of(create_app()).get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    if not accept:
        counts = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }
        assert counts["convpress_jobs", "queued"] == 2
        assert 89 < counts["convpress_queue_age_seconds",] < 100
        assert counts["convpress_jobs_finished_total", "failed", "worker_lost"] == 1
        assert counts["convpress_phase_seconds_bucket", "0.5", "loading"] == 2
        assert counts["convpress_phase_seconds_count", "loading"] == 2
        assert counts["convpress_flops_saved_total",] == 200


def test_promtool_finds_no_fault_with_the_metrics(client_of, session, filled, promtool):
    text = client_of(create_app()).get("/metrics").content
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True
    )
    assert checked.returncode == 0
    assert checked.stdout == b""
    assert checked.stderr == b""
