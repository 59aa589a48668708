"""The command that shows every wall of the sandbox."""


def test_the_doctor_shows_every_wall(run):
    result = run("doctor")
    assert all(
        wall in result.stdout for wall in ("files", "network", "processes", "memory", "rights")
    )
    assert result.exit_code == ("MISSING" in result.stdout)
