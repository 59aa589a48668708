"""A sandboxed child stays confined, and leaves nothing behind."""

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.sandboxing import SUCCEEDED, needs_landlock, needs_seccomp

from worker.sandbox.messages import Succeeded
from worker.sandbox.run import Lost, TimedOut


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
        "open('/proc/self/net/tcp')",
        "open('/proc/self/mountinfo')",
        "open('/proc/self/task/%d/net/tcp' % os.getpid())",
        "os.setsid()",
        "os.setpgid(0, 0)",
        "__import__('fcntl').fcntl(0, 1024, 0)",
        "__import__('fcntl').ioctl(0, 0x5412, b'x')",
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
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "home",
        "script.py",
        "secret",
    ]
    assert (tmp_path / "secret").read_text() == "secret"


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_threads_are_bounded_for_root_as_well(run, shut_in):
    outcome = run(
        shut_in,
        """
        import threading
        threading.stack_size(32 * 1024)
        for number in range(100_000):
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        """,
    )
    assert isinstance(outcome, Lost)
    limited = "more than 512 threads" if os.geteuid() == 0 else "can't start new thread"
    assert limited in outcome.log


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
            replace(shut_in, landlock=0, seccomp=False),
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


def test_the_keeper_leaves_nothing_when_the_worker_is_killed(
    shut_in, tmp_path, wait_gone
):
    code = (
        "import os, time\nif os.fork() == 0: os.setsid()\n"
        "open(str(os.getpid()), 'w').close()\ntime.sleep(600)"
    )
    parent = f"""
import subprocess, sys, time
from pathlib import Path
from worker.sandbox.policy import Confinement
confinement = Confinement(Path({str(shut_in.home)!r}), landlock=0, seccomp=False)
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


@pytest.mark.parametrize("threads", [1, 4])
def test_the_time_limit_comes_before_that_of_busy_threads(run, shut_in, threads):
    imports = 10  # seconds, of a spare child on a slow machine
    code = f"""
        import resource
        assert resource.getrlimit(resource.RLIMIT_CPU)[0] > {threads} * 120 + {imports}
        {SUCCEEDED}
        """
    assert run(replace(shut_in, threads=threads), code, seconds=120.0) == Succeeded()


def test_an_endless_loop_ends_with_its_time(run, shut_in):
    assert run(shut_in, "while True: pass", seconds=0.5) == TimedOut(0.5)


@pytest.mark.parametrize("path", ["no\0path", "/moved/away"])
def test_a_sandbox_that_cannot_be_set_up_runs_nothing(run, shut_in, path):
    outcome = run(replace(shut_in, writable=(Path(path),)), "open('begun', 'w')")
    assert isinstance(outcome, Lost)
    assert "the sandbox could not be set up" in outcome.log
    assert list(shut_in.home.iterdir()) == []
