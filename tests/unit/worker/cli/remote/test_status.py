"""The command that shows a job."""

import json


def test_a_job_is_shown_or_printed(run, service):
    job_id = service.known.id
    assert "succeeded" in run("status", job_id).stdout
    printed = json.loads(run("status", job_id, "--json").stdout)
    assert (printed["id"], printed["state"]) == (str(job_id), "succeeded")


def test_an_id_has_the_form_of_one(run, service):
    ended = run("status", "17")
    assert ended.exit_code == 2
    assert "'17' is no job's id; `convpress jobs`" in ended.stderr
    assert service.calls == []
