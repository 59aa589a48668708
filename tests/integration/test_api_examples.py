"""The command lines, examples and schemas of the API's description work as they are."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.errors import PROBLEM_TYPES
from app.webhooks.events import EVENTS
from convpress import schemas

MODEL = Path(__file__).parents[1] / "models" / "plain.onnx"


@pytest.fixture(scope="module")
def description(api):
    return api.http.get("/openapi.json").json()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the command lines use curl")
def test_the_command_lines_work_in_order(api, description, tmp_path):
    shutil.copy(MODEL, tmp_path / "model.onnx")
    lines = re.findall(r"^curl .*$", description["info"]["description"], re.MULTILINE)
    assert len(lines) == 4

    def run(line):
        assert str(api.http.base_url) in line
        return subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=tmp_path,
            env={"ID": job_id},
            capture_output=True,
            check=True,
        ).stdout

    job_id = ""
    job = json.loads(run(lines[0]))
    assert job["state"] == "queued"
    assert job["model"]["filename"] == "model.onnx"
    job_id = job["id"]
    assert json.loads(run(lines[1])) == job
    api.succeed(job_id, b"compressed", b'{"keep": 0.47}')
    run(lines[2])
    assert (tmp_path / "model.convpress.onnx").read_bytes() == b"compressed"
    assert json.loads(run(lines[3])) == {"keep": 0.47}


def test_every_webhook_is_described_with_the_job_that_it_brings(description):
    assert description["openapi"].startswith("3.1")
    assert set(description["webhooks"]) == {event.name for event in EVENTS}
    for described in description["webhooks"].values():
        schema = described["post"]["requestBody"]["content"]["application/json"][
            "schema"
        ]
        assert schema == {"$ref": "#/components/schemas/WebhookMessage"}
        headers = {parameter["name"] for parameter in described["post"]["parameters"]}
        assert headers == {"webhook-id", "webhook-timestamp", "webhook-signature"}
        assert set(described["post"]["responses"]) == {"204", "default"}
    assert "HTTPValidationError" not in description["components"]["schemas"]


def responses(description):
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            for status, response in operation["responses"].items():
                yield f"{method.upper()} {path}", status, response


def test_every_problem_that_is_described_is_one_of_its_status(description):
    seen = set()
    for _, status, response in responses(description):
        content = response.get("content", {}).get("application/problem+json", {})
        for code, example in content.get("examples", {}).items():
            assert schemas.Problem.model_validate(example["value"]).code == code
            assert str(PROBLEM_TYPES[code].status) == status
            seen.add(code)
    assert seen >= {
        "budget_invalid",
        "job_unfinished",
        "upload_too_large",
        "storage_full",
        "not_ready",
    }


def test_every_call_describes_its_success_and_any_problem(description):
    calls = {call for call, _, _ in responses(description)}
    assert calls == {
        "POST /jobs",
        "POST /advice",
        "GET /jobs",
        "GET /jobs/{job_id}",
        "DELETE /jobs/{job_id}",
        "POST /jobs/{job_id}/cancel",
        "GET /jobs/{job_id}/artifact",
        "GET /jobs/{job_id}/report",
        "GET /jobs/{job_id}/frontier",
        "GET /jobs/{job_id}/events",
        "GET /jobs/{job_id}/log",
        "PATCH /jobs/{job_id}",
        "GET /models/{sha256}",
        "GET /stats",
        "GET /metrics",
        "GET /healthz",
        "GET /readyz",
    }
    for call in calls:
        statuses = {
            status for name, status, _ in responses(description) if name == call
        }
        assert statuses & {"200", "202", "204"}
        assert "default" in statuses


def test_the_descriptions_page_needs_no_other_host(api):
    page = api.http.get("/docs").text
    sources = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert sources
    for source in sources:
        assert source.startswith("/")
        assert api.http.get(source).status_code == 200
