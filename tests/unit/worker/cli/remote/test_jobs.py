"""The command that lists jobs filters by states and labels."""

import json


def test_filters_reach_the_service(run, service):
    asked = ("--state", "failed", "--state", "queued", "--label", "a=b=c")
    listed = run("jobs", *asked, "--limit", 3, "--json")
    assert [job["id"] for job in json.loads(listed.stdout)] == [str(service.known.id)]
    assert service.options_of("list") == {
        "limit": 3,
        "state": ("failed", "queued"),
        "labels": {"a": "b=c"},
    }


def test_without_filters_the_latest_are_shown(run, service):
    assert str(service.known.id) in run("jobs").stdout
    assert service.options_of("list") == {"limit": 20, "state": (), "labels": {}}


def test_what_is_no_filter_is_wrong_usage(run, service):
    for wrong in (
        ["--state", "lost"],
        ["--label", "a"],
        ["--limit", 0],
        ["--patience", -1],
    ):
        assert run("jobs", *wrong).exit_code == 2
    assert service.calls == []


def test_no_jobs_are_no_table(run, service):
    service.is_empty = True
    assert run("jobs").stdout == "there are no jobs\n"
    assert run("jobs", "--label", "a=b").stdout == "no job matches\n"
    assert run("jobs", "--json").stdout == "[]\n"
