"""The command that stops a job shows it as it is then."""

import json


def test_a_job_is_stopped_and_shown(run, service):
    job_id = service.known.id
    shown = run("cancel", job_id)
    assert (shown.exit_code, str(job_id) in shown.stdout) == (0, True)
    printed = run("cancel", job_id, "--json")
    assert json.loads(printed.stdout)["id"] == str(job_id)
    assert [arguments for _, arguments, _ in service.calls] == [(job_id,)] * 2
