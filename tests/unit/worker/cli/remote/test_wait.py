"""The command that follows a job says how to go on, and prints JSON without bars."""

import json


def test_a_job_that_has_succeeded_can_be_fetched(run, service):
    job_id = service.known.id
    shown = run("wait", job_id)
    assert f"convpress download {job_id}" in shown.stdout
    assert [name for name, _, _ in service.calls] == ["job", "wait"]


def test_json_comes_without_bars(run, service):
    printed = run("wait", service.known.id, "--json")
    assert json.loads(printed.stdout)["state"] == "succeeded"
    assert printed.stderr == ""
