"""What is provisioned for Prometheus and Grafana is well formed, locked down, and asks for what
/metrics tells.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from app.settings import Settings
from app.stats.counters import BUCKETS, REQUEST_BUCKETS
from app.stats.prometheus import registry
from app.stats.queries import SILENT_SECONDS, Histogram, Jobs, Service

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "docker" / "prometheus"
GRAFANA = ROOT / "docker" / "grafana"
RULES = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((GRAFANA / "dashboards" / "convpress.json").read_text())
QUERIES = {rule["alert"]: rule["expr"] for rule in RULES} | {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}


def exposed():
    jobs = Jobs({"queued": 1}, None, {}, {"models": 1})
    phases = {"loading": Histogram((1,) * len(BUCKETS), 0.1)}
    requests = {("GET", "/jobs", "200"): Histogram((1,) * len(REQUEST_BUCKETS), 0.1)}
    service = Service((), 0, 0, 0, {}, phases, 0.0, requests, {})
    return [
        sample
        for metric in registry(jobs, service, 0.0).collect()
        for sample in metric.samples
    ]


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_queries_ask_for_metrics_and_labels_that_there_are(query):
    labels = {}
    for sample in exposed():
        labels.setdefault(sample.name, set()).update(sample.labels)
    asked = re.findall(r"\b(convpress_\w+)(?:\{([^}]*)\})?", query)
    assert asked or query.startswith("up{")
    for name, matchers in asked:
        assert name in labels
        assert set(re.findall(r"(\w+)=", matchers)) <= labels[name]
    grouped = re.findall(r"by \(([^)]*)\)", query)
    assert {
        name.strip() for names in grouped for name in names.split(",")
    } <= set().union(*labels.values())


def test_alerts_name_codes_that_there_are():
    codes = {sample.labels["code"] for sample in exposed() if "code" in sample.labels}
    named = {
        code
        for rule in RULES
        for text in re.findall(r'code=~?"([^"]*)"', rule["expr"])
        for code in text.split("|")
    }
    assert named
    assert named <= codes


def test_promtool_finds_no_fault(promtool):
    for command in (
        ["check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml"],
        ["check", "rules", "--lint=all", "--lint-fatal", PROMETHEUS / "alerts.yml"],
        ["test", "rules", ROOT / "tests" / "prometheus" / "alerts.test.yml"],
    ):
        done = subprocess.run([promtool, *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_queries_are_promql(promtool, tmp_path):
    rules = [
        {"record": f"tried:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(QUERIES.values())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "tried", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried():
    tried = yaml.safe_load(
        (ROOT / "tests" / "prometheus" / "alerts.test.yml").read_text()
    )["tests"]
    for test in tried:
        assert {each["alertname"] for each in test["alert_rule_test"]} == {
            rule["alert"] for rule in RULES
        }


def test_panels_are_apart_and_have_their_data():
    places = set()
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"]["uid"] == "prometheus"
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & places
        assert place["x"] + place["w"] <= 24
        places |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(
        DASHBOARD["panels"]
    )
    [source] = yaml.safe_load(
        (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text()
    )["datasources"]
    assert source["uid"] == "prometheus"


def test_a_worker_shows_itself_more_often_than_it_is_missed():
    assert Settings.model_fields["sweep_seconds"].default * 3 < SILENT_SECONDS
