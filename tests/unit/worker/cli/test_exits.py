"""Commands end by a code that says why, and never pass control characters on."""

import sys

import pytest
from support.service.rendering import example_job

from app.errors import document
from convpress import JobFailed
from convpress.schemas import Problem
from worker.cli import exits


def test_a_message_cannot_act_on_the_terminal(capsys):
    with pytest.raises(SystemExit) as ended:
        exits.end("layer \x1b]0;title\x07\nnext line", exits.REFUSED)
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "layer ?]0;title?\nnext line\n"


def test_a_problem_is_told_in_lines_without_members_that_it_lacks():
    members = {"code": "budget_invalid", "detail": "no number", "got": "abc"}
    assert exits.problem_lines(members) == "budget_invalid: no number\n  got: abc"


def test_a_missing_extra_is_named_with_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(
        exits, "find_spec", lambda name: None if name == "celery" else sys
    )
    exits.require_extra("engine")
    with pytest.raises(SystemExit) as ended:
        exits.require_extra("server", "engine")
    assert ended.value.code == exits.USAGE
    message = capsys.readouterr().err
    assert "this command needs celery: " in message
    assert "pip install 'convpress[server,engine]'" in message


@pytest.mark.parametrize(
    ("problem", "status"),
    [(None, 5), ("budget_unreachable", 1), ("engine_error", 3), ("job_timeout", 3)],
)
def test_a_job_that_made_nothing_ends_the_command_line_by_its_reason(
    capsys, problem, status
):
    error = problem and Problem.model_validate(
        document({"code": problem, "detail": "so it is"}, "/jobs")
    )
    with pytest.raises(SystemExit) as ended:
        exits.end_failed(
            JobFailed(
                example_job().model_copy(update={"state": "failed", "error": error})
            ),
            json=False,
        )
    assert ended.value.code == status
    assert capsys.readouterr().err.startswith(problem or "the job has failed")
