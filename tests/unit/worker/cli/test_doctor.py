"""The command that shows every wall of the sandbox."""

import json


def test_the_doctor_shows_every_wall(run):
    result = run("doctor")
    assert all(
        wall in result.stdout
        for wall in ("files", "network", "processes", "memory", "rights")
    )
    assert result.exit_code == ("MISSING" in result.stdout)


def test_the_doctor_answers_in_json(run):
    result = run("doctor", "--json")
    walls = json.loads(result.stdout)["walls"]
    assert {"name", "promise", "holds", "evidence"} == set(walls[0])
    assert result.exit_code == (not all(wall["holds"] for wall in walls))
