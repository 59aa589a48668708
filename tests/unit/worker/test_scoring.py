"""The user's command: one number, or a refusal that says what came."""

import sys

import pytest

from convpress.refusal import Refusal
from worker.scoring import parse_scorer


def command(code):
    """Return a command that runs Python code with the model's path as its argument."""
    return f'{sys.executable} -c "{code}" {{model}}'


def test_a_command_prints_one_number_for_a_model(tmp_path):
    model = tmp_path / "a net.onnx"
    model.write_bytes(b"four")
    scorer = parse_scorer(
        command("import os, sys; print(os.path.getsize(sys.argv[1]) / 8)")
    )
    assert scorer.score(model) == 0.5
    evaluation = scorer.evaluation(0.75, 0.5)
    assert (evaluation.metric, evaluation.loss, evaluation.count) == (
        "score",
        0.25,
        None,
    )


def test_less_can_be_better():
    scorer = parse_scorer(command("print(1)"), lower_is_better=True)
    assert scorer.evaluation(2.0, 1.5).loss == -0.5


@pytest.mark.parametrize(
    ("code", "detail", "got"),
    [
        ("print('accuracy: 0.5')", "did not print one number", "accuracy: 0.5"),
        ("print(0.5); print(0.6)", "did not print one number", "0.5\n0.6"),
        ("print('nan')", "did not print one number", "nan"),
        ("pass", "did not print one number", "nothing"),
        (
            "raise ValueError('no labels')",
            "ended with status 1",
            "ValueError: no labels",
        ),
        ("import sys; print(1); sys.exit(3)", "ended with status 3", "no message"),
        ("print('x' * 1000)", "did not print one number", "..."),
    ],
)
def test_any_other_output_is_refused(tmp_path, code, detail, got):
    with pytest.raises(Refusal, match=detail) as caught:
        parse_scorer(command(code)).score(tmp_path / "net.onnx")
    assert (caught.value.code, caught.value.field) == ("evaluation_invalid", "evaluate")
    assert got in caught.value.got
    assert len(caught.value.got) <= 200


def test_a_command_that_takes_too_long_is_killed_with_what_it_started(
    tmp_path, wait_gone
):
    pid = tmp_path / "pid"
    pid.touch()
    code = (
        f"import os, time; child = os.fork() or time.sleep(600); "
        f"open('{pid}', 'w').write(str(child)); time.sleep(600)"
    )
    for seconds in (0.5, 8.0, 64.0):  # the first is enough, unless the machine is busy
        with pytest.raises(Refusal, match=f"not done after {seconds:g} seconds"):
            parse_scorer(command(code), seconds=seconds).score(tmp_path / "net.onnx")
        if pid.read_text():
            break
    assert wait_gone(int(pid.read_text()))


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Refusal, match="cannot be run") as caught:
        parse_scorer("no-such-program {model}").score(tmp_path / "net.onnx")
    assert "no-such-program" in caught.value.got


@pytest.mark.parametrize(
    ("text", "seconds", "detail"),
    [
        ("python score.py", None, "no {model}"),
        ("", None, "no {model}"),
        ("python 'score.py {model}", None, "cannot be read"),
        ("score {model}", 0.0, "needs time"),
        ("score {model}", float("nan"), "needs time"),
    ],
)
def test_what_is_no_command_is_refused(text, seconds, detail):
    with pytest.raises(Refusal, match=detail):
        parse_scorer(text, seconds=seconds)
