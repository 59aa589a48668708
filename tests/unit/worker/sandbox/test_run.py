"""A child ends in one of five ways, and nothing of it is left behind in any of them."""

import os
import sys
import textwrap
import time

import pytest

from worker.sandbox import run as sandbox
from worker.sandbox.messages import Failed, Progress, Succeeded
from worker.sandbox.policy import Confinement
from worker.sandbox.run import Crashed, Lost, Stopped, TimedOut

SUCCEEDED = """print('{"event": "succeeded"}', flush=True)"""


@pytest.fixture
def run(tmp_path):
    def run(
        code,
        arguments=(),
        seconds=120.0,
        is_wanted=lambda: True,
        on_progress=lambda progress: None,
        on_log=lambda text: None,
    ):
        script = tmp_path / "child.py"
        script.write_text("import os, sys, time, signal\n" + textwrap.dedent(code))
        return sandbox.run(
            (sys.executable, str(script)),
            list(arguments),
            Confinement(tmp_path, landlock=False, seccomp=False),
            seconds=seconds,
            is_wanted=is_wanted,
            on_progress=on_progress,
            on_log=on_log,
        )

    return run


def test_success_comes_after_progress(run):
    heard = []
    outcome = run(
        f"""
        for fraction in (0.25, 1):
            print('{{"event": "progress", "phase": "loading", "fraction": %s}}' % fraction)
        {SUCCEEDED}
        """,
        on_progress=heard.append,
    )
    assert outcome == Succeeded()
    assert heard == [Progress("loading", 0.25), Progress("loading", 1.0)]


def test_a_refusal_comes_through(run):
    error = '{"code": "budget_unreachable", "detail": "no", "got": "0.1"}'
    outcome = run(f"""print('{{"event": "failed", "error": {error}}}')""")
    assert outcome == Failed(
        {"code": "budget_unreachable", "detail": "no", "got": "0.1"}
    )


@pytest.mark.parametrize(
    "end",
    [SUCCEEDED, "os._exit(3)", "time.sleep(600)", "print('no JSON', flush=True)"],
    ids=["success", "lost", "stopped", "malformed"],
)
def test_the_end_of_standard_error_is_told_whatever_the_outcome(run, tmp_path, end):
    heard = []
    mark = tmp_path / "written"
    run(
        f"""
        sys.stderr.write('x' * 50_000 + 'the end')
        sys.stderr.flush()
        open({str(mark)!r}, 'w').close()
        {end}
        """,
        is_wanted=lambda: not (end.startswith("time") and mark.exists()),
        on_log=heard.append,
    )
    [text] = heard
    assert text.endswith("the end")
    assert len(text) == 16 * 1024


def test_a_refusal_comes_with_the_log_written_before_it(run):
    error = '{"code": "model_invalid", "detail": "no"}'
    outcome = run(f"""
        sys.stderr.write('x' * 50_000 + 'Traceback')
        sys.stderr.flush()
        print('{{"event": "failed", "error": {error}}}')
    """)
    assert isinstance(outcome, Failed)
    assert outcome.log.endswith("Traceback")


def test_arguments_arrive_as_they_are(run):
    wild = '{"a": "b c\\n$HOME; \'"}'
    assert run(f"assert sys.argv[1:] == {[wild]!r}\n{SUCCEEDED}", [wild]) == Succeeded()


def test_the_last_word_settles_it_though_the_child_would_go_on(run):
    start = time.monotonic()
    assert run(f"{SUCCEEDED}\ntime.sleep(600)") == Succeeded()
    assert time.monotonic() - start < 100  # the child's time is not up either


def test_a_word_said_just_before_death_is_heard(run):
    assert run(f"{SUCCEEDED}\nos.kill(os.getpid(), signal.SIGKILL)") == Succeeded()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("os.kill(os.getpid(), 50)", "signal 50"),
        ("os.abort()", "signal 6"),
        ("sys.exit(3)", "status 3"),
        ("pass", "without a result"),
        ("raise MemoryError", "status 1"),
        ("print('not json')", "not JSON"),
        ("os.write(1, b'x' * 100_000)", "more output"),
        (
            'while True: print(\'{"event": "progress", "phase": "loading", "fraction": 0}\')',
            "more output",
        ),
        ("os.close(1); os.close(2); time.sleep(0.3)", "status 0"),
    ],
)
def test_any_other_end_is_a_loss_and_says_why(run, code, reason):
    outcome = run(code)
    assert isinstance(outcome, Lost)
    assert reason in outcome.reason


def test_a_loss_comes_with_the_tail_of_the_log(run):
    outcome = run(
        "sys.stderr.write('begin' + 'x' * 10_000_000 + 'the end'); sys.exit(1)"
    )
    assert isinstance(outcome, Lost)
    assert outcome.log.endswith("the end")
    assert len(outcome.log) <= 16 * 1024


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(600)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
        "os.close(1); os.close(2); time.sleep(600)",
        "while True: sys.stderr.write('x' * 100_000)",
    ],
)
def test_time_runs_out(run, code):
    start = time.monotonic()
    assert run(code, seconds=0.5) == TimedOut(0.5)
    assert time.monotonic() - start < 100


def test_a_child_that_is_not_wanted_any_more_is_stopped(run, tmp_path, wait_gone):
    started = tmp_path / "started"
    outcome = run(
        "open('started', 'w').write(str(os.getpid())); time.sleep(600)",
        is_wanted=lambda: not started.exists(),
    )
    assert outcome == Stopped()
    assert wait_gone(int(started.read_text() or 0))


def test_the_child_dies_with_an_error_in_what_listens(run, tmp_path, wait_gone):
    def refuse(progress):
        raise KeyError("progress")

    with pytest.raises(KeyError):
        run(
            """
            open('pid', 'w').write(str(os.getpid()))
            print('{"event": "progress", "phase": "loading", "fraction": 0}', flush=True)
            time.sleep(600)
            """,
            on_progress=refuse,
        )
    assert wait_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("ending", [SUCCEEDED, "sys.exit(1)", "time.sleep(600)"])
def test_its_children_die_with_it(run, tmp_path, wait_gone, ending):
    pid = tmp_path / "pid"
    pid.touch()
    for seconds in (1.0, 8.0, 64.0):  # the first is enough, unless the machine is busy
        run(
            f"""
            child = os.fork()
            if child == 0:
                time.sleep(600)
            open('pid', 'w').write(str(child))
            {ending}
            """,
            seconds=seconds,
        )
        if pid.read_text():
            break
    assert wait_gone(int(pid.read_text()))


def test_a_grandchild_that_keeps_the_pipes_open_holds_nobody_up(
    run, tmp_path, wait_gone
):
    start = time.monotonic()
    outcome = run(
        """
        if os.fork() == 0:
            os.setsid()
            open('pid', 'w').write(str(os.getpid()))
            time.sleep(600)
        while not os.path.exists('pid') or not open('pid').read():
            time.sleep(0.01)
        """,
    )
    assert wait_gone(int((tmp_path / "pid").read_text()))
    assert isinstance(outcome, Lost)
    assert time.monotonic() - start < 100


def test_it_learns_nothing_of_the_worker(run, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVPRESS_DATABASE_URL", "postgresql://user:secret@db/jobs")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    secret = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(secret, True)
    outcome = run(
        f"""
        import resource
        assert 'secret' not in str(os.environ), os.environ
        assert os.environ['HOME'] == os.environ['TMPDIR'] == os.getcwd() == {str(tmp_path)!r}
        assert os.environ['OMP_NUM_THREADS'] == '1'
        numbers = sorted(map(int, os.listdir('/proc/self/fd')))
        assert numbers[:4] == [0, 1, 2, 3], numbers
        assert len(os.listdir('/proc/self/fd')) == 4  # the fourth is the listing itself
        assert sys.stdin.read() == ''
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
        assert os.getpgid(0) == os.getsid(0) == os.getppid()
        {SUCCEEDED}
        """
    )
    os.close(secret)
    assert outcome == Succeeded()


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGFPE", "SIGABRT", "SIGBUS", "SIGILL"])
def test_a_fault_of_its_own_is_a_crash(run, name):
    outcome = run(f"os.kill(os.getpid(), signal.{name})")
    assert type(outcome) is Crashed
    assert "killed by signal" in outcome.reason


def test_death_from_outside_is_no_crash(run):
    assert type(run("os.kill(os.getpid(), signal.SIGKILL)")) is Lost
