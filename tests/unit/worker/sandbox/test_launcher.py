"""A sandboxed child stays confined: a probe tests each promise, with every mechanism on and off."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from worker.sandbox import doctor, launcher, probe
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Succeeded
from worker.sandbox.policy import Confinement
from worker.sandbox.run import Lost, TimedOut

needs_landlock = pytest.mark.skipif(
    launcher.landlock_version() < 3, reason="needs a kernel with Landlock 3"
)
needs_seccomp = pytest.mark.skipif(launcher.load_libseccomp() is None, reason="needs libseccomp")

SUCCEEDED = """print('{"event": "succeeded"}', flush=True)"""


@pytest.fixture
def shut_in(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret").write_text("secret")
    return Confinement(
        home, readable=(tmp_path / "script.py",), memory_bytes=2 * 1024**3, file_bytes=10_000
    )


@pytest.fixture
def run(tmp_path):
    def run(confinement, code, seconds=120.0):
        script = tmp_path / "script.py"
        script.write_text("import os, sys, time, signal\n" + textwrap.dedent(code))
        return sandbox.run(
            (sys.executable, str(script)),
            [],
            confinement,
            seconds=seconds,
            on_progress=lambda _: None,
            is_wanted=lambda: True,
        )

    return run


def escapes(confinement, tmp_path):
    """The promises that the probe can break."""
    targets = {
        "secret": str(tmp_path / "secret"),
        "upload": str(tmp_path / "secret"),
        "port": 9,
        "worker": os.getpid(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "memory": 4 * 1024**3,
        "shared_too": confinement.device == "cpu",
    }
    command = confinement.command(
        [sys.executable, "-I", "-S", probe.__file__, json.dumps(targets)], 10
    )
    done = subprocess.run(command, cwd=confinement.home, capture_output=True, check=False, env={})
    return {name for name, successes in json.loads(done.stdout).items() if successes}


@needs_landlock
@needs_seccomp
def test_all_promises_hold_here():
    assert [check for check in doctor.examine() if not check.holds] == []


@needs_landlock
@needs_seccomp
def test_each_mechanism_alone_keeps_its_promises_and_the_probe_sees_which_is_off(shut_in, tmp_path):
    assert escapes(shut_in, tmp_path) == set()
    assert escapes(replace(shut_in, seccomp=False), tmp_path) == {"files", "network", "processes"}
    assert escapes(replace(shut_in, landlock=False), tmp_path) == {"files"}
    assert escapes(replace(shut_in, memory_bytes=16 * 1024**3), tmp_path) == {"memory"}
    assert escapes(replace(shut_in, landlock=False, seccomp=False), tmp_path) >= {
        "files",
        "network",
        "processes",
    }


@needs_landlock
@needs_seccomp
@pytest.mark.parametrize(
    "attempt",
    [
        "open('{outside}/secret').read()",
        "open('{outside}/secret', 'w')",
        "open('{outside}/new', 'w')",
        "os.unlink('{outside}/secret')",
        "os.rename('{outside}/secret', 'mine')",
        "os.link('{outside}/secret', 'mine')",
        "os.truncate('{outside}/secret', 0)",
        "os.listdir('/etc')",
        "os.listdir('/proc')",
        "open('/dev/shm/convpress-test', 'w')",
        "os.symlink('/etc', 'link')",
        "os.mkfifo('pipe')",
        "os.mknod('device', 0o20666, os.makedev(1, 1))",
        "__import__('socket').create_connection(('127.0.0.1', 9), 1)",
        "__import__('socket').socketpair()",
        "__import__('ctypes').CDLL(None).memfd_secret",
        "os.fork()",
        "__import__('subprocess').run(['/bin/true'])",
        "os.kill({worker}, 0)",
        "os.kill(os.getppid(), signal.SIGKILL)",
        "os.killpg(0, signal.SIGKILL)",
        "__import__('resource').prlimit({worker}, 7, (1, 1))",
        "os.setuid(1)",
        "os.chmod('{outside}/secret', 0o777)",
        "os.utime('{outside}/secret', (0, 0))",
        "os.setxattr('{outside}/secret', 'user.evil', b'x')",
        "os.setpriority(os.PRIO_PROCESS, {worker}, 19)",
        "os.sched_setaffinity({worker}, {{0}})",
        "os.chroot('.')",
        "os.unshare(0x10000000)",
        "open('big', 'wb').write(bytes(20_000))",
        "__import__('mmap').mmap(-1, 3 * 1024**3)",
        "[open('/dev/null') for _ in range(1000)]",
    ],
)
def test_what_a_model_may_not_do_fails(run, shut_in, tmp_path, attempt):
    attempt = attempt.format(outside=tmp_path, worker=os.getpid())
    outcome = run(
        shut_in,
        f"""
        try:
            {attempt}
        except (OSError, MemoryError, AttributeError):
            {SUCCEEDED}
        """,
    )
    assert outcome == Succeeded()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "script.py", "secret"]
    assert (tmp_path / "secret").read_text() == "secret"


@needs_landlock
def test_what_it_may_read_it_cannot_change(run, shut_in, tmp_path):
    upload = tmp_path / "upload"
    upload.write_bytes(b"model")
    before = hashlib.sha256(upload.read_bytes()).hexdigest()
    linked = tmp_path / "input"
    linked.mkdir()
    os.link(upload, linked / "model")
    outcome = run(
        replace(shut_in, readable=(*shut_in.readable, linked)),
        f"""
        assert open('{linked}/model').read() == 'model'
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
            try:
                os.open('{linked}/model', flags)
            except PermissionError:
                continue
            sys.exit(1)
        {SUCCEEDED}
        """,
    )
    assert outcome == Succeeded()
    assert hashlib.sha256(upload.read_bytes()).hexdigest() == before


@pytest.mark.parametrize(
    "ending", [SUCCEEDED, "sys.exit(1)", "os.kill(os.getpid(), 9)", "time.sleep(600)"]
)
def test_nothing_outlives_it_in_whatever_session(run, shut_in, wait_gone, ending):
    for seconds in (1.0, 8.0, 64.0):  # the first is enough, unless the machine is busy
        for path in shut_in.home.iterdir():
            path.unlink()
        run(
            replace(shut_in, landlock=False, seccomp=False),
            f"""
            for number in range(20):
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        os.setsid()
                    open(f'{{number}}-{{os.getpid()}}', 'w').close()
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    time.sleep(600)
            while len(os.listdir('.')) < 40:
                time.sleep(0.01)
            {ending}
            """,
            seconds=seconds,
        )
        started = [int(path.name.partition("-")[2]) for path in shut_in.home.iterdir()]
        assert all(wait_gone(pid) for pid in started)
        if len(started) == 40:
            break
    assert len(started) == 40


def test_the_keeper_leaves_nothing_when_the_worker_is_killed(shut_in, tmp_path, wait_gone):
    code = (
        "import os, time\nif os.fork() == 0: os.setsid()\n"
        "open(str(os.getpid()), 'w').close()\ntime.sleep(600)"
    )
    parent = f"""
import subprocess, sys, time
from pathlib import Path
from worker.sandbox.policy import Confinement
confinement = Confinement(Path({str(shut_in.home)!r}), landlock=False, seccomp=False)
command = confinement.command([sys.executable, "-c", {code!r}], 600)
subprocess.Popen(command, cwd=confinement.home, start_new_session=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", parent]) as worker:
        while len(started := list(shut_in.home.iterdir())) < 2:
            assert worker.poll() is None
            time.sleep(0.01)
        worker.kill()
    assert all(wait_gone(int(path.name)) for path in started)


def test_an_endless_loop_ends_with_its_time(run, shut_in):
    assert run(shut_in, "while True: pass", seconds=0.5) == TimedOut(0.5)


def test_a_sandbox_that_cannot_be_set_up_runs_nothing(run, shut_in, tmp_path):
    outcome = run(replace(shut_in, writable=(Path("no\0path"),)), "open('begun', 'w')")
    assert isinstance(outcome, Lost)
    assert "the sandbox could not be set up" in outcome.log
    assert list(shut_in.home.iterdir()) == []


@needs_landlock
@needs_seccomp
def test_a_sandbox_for_a_gpu_opens_its_driver_and_nothing_else(run, shut_in, tmp_path):
    opened = replace(shut_in, device="cuda")
    closed, described = (json.loads(each.command([], 1)[-1]) for each in (shut_in, opened))
    assert closed["devices"] == []
    assert closed["limits"]["AS"] == 2 * 1024**3
    assert all(path.startswith("/dev/nvidia") for path in described["devices"])
    assert described["limits"] == {
        name: most for name, most in closed["limits"].items() if name != "AS"
    } | {"DATA": 2 * 1024**3}
    assert escapes(opened, tmp_path) == set()
    device = run(
        opened,
        f"""

        try:
            os.open("/dev/zero", os.O_RDWR)
        except PermissionError:
            {SUCCEEDED}
    """,
    )
    assert device == Succeeded()
