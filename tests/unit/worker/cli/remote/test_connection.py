"""The errors of a client end a command, and so does Ctrl-C, with what to do next."""

import pytest
import typer
from support.service.rendering import example_job

from convpress import JobFailed, Unavailable
from worker.cli.remote.connection import connected, resumable


def test_an_address_that_is_none_is_wrong_usage():
    with (
        pytest.raises(typer.BadParameter, match="http://"),
        connected("localhost:8000", None, 0.0, json=False),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "status"), [(Unavailable("away"), 4), (JobFailed(example_job()), 5)]
)
def test_an_error_of_the_client_ends_the_command(service, capsys, error, status):
    with (
        pytest.raises(SystemExit) as ended,
        connected("http://h", None, 0.0, json=False),
    ):
        raise error
    assert ended.value.code == status
    message = capsys.readouterr().err
    assert str(error) in message
    assert ("CONVPRESS_SERVER" in message) == (status == 4)


def test_ctrl_c_names_the_command_that_follows_the_job(capsys):
    job = example_job()
    with pytest.raises(SystemExit) as ended, resumable(job):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert f"convpress wait {job.id}" in capsys.readouterr().err
