"""A sandboxed child stays confined: a probe tests each promise, with every mechanism on and off."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from worker.sandbox import doctor, launcher, probe, start_engine
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Succeeded
from worker.sandbox.policy import Confinement
from worker.sandbox.run import Lost, TimedOut

needs_landlock = pytest.mark.skipif(
    launcher.landlock_version() < 3, reason="needs a kernel with Landlock 3"
)
needs_seccomp = pytest.mark.skipif(
    launcher.load_libseccomp() is None, reason="needs libseccomp"
)

SUCCEEDED = """print('{"event": "succeeded"}', flush=True)"""


@pytest.fixture
def shut_in(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret").write_text("secret")
    return Confinement(
        home,
        readable=(tmp_path / "script.py",),
        memory_bytes=2 * 1024**3,
        file_bytes=10_000,
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
        "proc_too": confinement.device == "cpu",
    }
    command = confinement.command(
        [sys.executable, "-I", "-S", probe.__file__, json.dumps(targets)], 10
    )
    done = subprocess.run(
        command, cwd=confinement.home, capture_output=True, check=False, env={}
    )
    return {name for name, successes in json.loads(done.stdout).items() if successes}


@needs_landlock
@needs_seccomp
def test_all_promises_hold_here():
    assert [check for check in doctor.examine() if not check.holds] == []


@needs_landlock
@needs_seccomp
def test_each_mechanism_alone_keeps_its_promises_and_the_probe_sees_which_is_off(
    shut_in, tmp_path
):
    assert escapes(shut_in, tmp_path) == set()
    without_seccomp = {"files", "network", "processes", "memory"}
    assert escapes(replace(shut_in, seccomp=False), tmp_path) == without_seccomp
    assert escapes(replace(shut_in, landlock=0), tmp_path) == {"files"}
    for version in range(3, 7):  # as on kernels since 6.2
        assert escapes(replace(shut_in, landlock=version), tmp_path) == set()
    assert escapes(replace(shut_in, memory_bytes=16 * 1024**3), tmp_path) == {"memory"}
    assert escapes(replace(shut_in, landlock=0, seccomp=False), tmp_path) >= {
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


BY_DESCRIPTOR = """
import ctypes, fcntl, struct
from contextlib import suppress
libc = ctypes.CDLL(None)
reader, writer = os.pipe()
high = 1 << 32  # the kernel ignores the upper half of these arguments
for number in (signal.SIGKILL, signal.SIGIO):
    for top in (0, high):
        set_signal = libc.syscall(72, reader, ctypes.c_long(top | 10), ctypes.c_long(number))
        set_owner = libc.syscall(72, reader, ctypes.c_long(top | 8), ctypes.c_long({victim}))
        owner = struct.pack("ii", 1, {victim})
        libc.syscall(72, reader, ctypes.c_long(top | 15), owner)
        libc.syscall(72, reader, ctypes.c_long(top | 4), ctypes.c_long(os.O_ASYNC))
        pid = struct.pack("i", {victim})
        one = struct.pack("i", 1)
        libc.syscall(16, reader, ctypes.c_long(top | 0x8901), pid)
        libc.syscall(16, reader, ctypes.c_long(top | 0x8902), pid)
        libc.syscall(16, reader, ctypes.c_long(top | 0x5452), one)
        os.write(writer, b"x")
"""
"""Every way to have the kernel signal the owner of a descriptor, by the numbers of x86_64."""


@pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="has the numbers of system calls"
)
@needs_landlock
@needs_seccomp
@pytest.mark.parametrize("version", [3, 4, 5, 6])
def test_no_version_of_landlock_is_needed_to_keep_signals_in(run, shut_in, version):
    with subprocess.Popen(["/bin/sleep", "600"]) as victim:
        try:
            code = BY_DESCRIPTOR.format(victim=victim.pid)
            outcome = run(replace(shut_in, landlock=version), f"{code}\n{SUCCEEDED}")
            assert outcome == Succeeded()
            assert victim.poll() is None
            if version < 6:  # the attempt is a real one
                run(
                    replace(shut_in, landlock=version, seccomp=False),
                    f"{code}\n{SUCCEEDED}",
                )
                assert victim.wait(60) in (-signal.SIGKILL, -signal.SIGIO)
        finally:
            victim.kill()


@needs_landlock
@needs_seccomp
def test_a_child_keeps_the_signal_that_ends_it_with_its_keeper(run, shut_in):
    outcome = run(
        shut_in,
        f"""
        import ctypes
        prctl = ctypes.CDLL(None).prctl
        for operation in (1, 1 | 1 << 32):
            assert prctl(ctypes.c_long(operation), 0, 0, 0, 0) == -1
        number = ctypes.c_int()
        assert prctl(2, ctypes.byref(number), 0, 0, 0) == 0
        assert number.value == signal.SIGKILL
        {SUCCEEDED}
        """,
    )
    assert outcome == Succeeded(), outcome


@needs_landlock
@needs_seccomp
def test_the_engine_executes_no_other_program(run, shut_in):
    outcome = run(
        shut_in,
        f"""
        import runpy
        def attempt(*_, **options):
            assert options["run_name"] == "__main__"
            try:
                os.execv(sys.executable, [sys.executable, "-c", ""])
            except PermissionError:
                {SUCCEEDED}
        runpy.run_module = attempt
        runpy.run_path({start_engine.__file__!r}, run_name="__main__")
        """,
    )
    assert outcome == Succeeded(), outcome


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


def test_a_sandbox_that_cannot_be_set_up_runs_nothing(run, shut_in, tmp_path):
    outcome = run(replace(shut_in, writable=(Path("no\0path"),)), "open('begun', 'w')")
    assert isinstance(outcome, Lost)
    assert "the sandbox could not be set up" in outcome.log
    assert list(shut_in.home.iterdir()) == []


@needs_landlock
@needs_seccomp
def test_a_sandbox_for_a_gpu_opens_its_driver_and_nothing_else(run, shut_in, tmp_path):
    opened = replace(shut_in, device="cuda")
    closed = json.loads(shut_in.command([], 1)[-1])
    described = json.loads(opened.command([], 1)[-1])
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
