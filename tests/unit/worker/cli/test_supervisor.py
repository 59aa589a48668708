"""A supervised command is started again when it ends, and ends with its supervisor."""

import os
import resource
import signal
import socket
import sys
import time

import pytest
from structlog.testing import capture_logs

from app.settings import Settings
from worker.cli import supervisor
from worker.cli.supervisor import CannotListen, listen, supervised

STAY = "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(600)"
LEAVE = "import os, sys; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + STAY


@pytest.fixture
def starts(tmp_path):
    """The process ids that a command has written, once there are `count` of them."""
    path = tmp_path / "pids"
    path.touch()

    def wait(number):
        deadline = time.monotonic() + 120
        while len(pids := path.read_text().split()) < number:
            assert time.monotonic() < deadline, f"waited in vain for start {number}"
            time.sleep(0.02)
        return [int(pid) for pid in pids]

    wait.command = lambda code: (sys.executable, "-c", code, str(path))
    return wait


def test_a_command_that_dies_is_started_again_and_the_last_ends_with_the_block(
    starts, wait_gone, monkeypatch
):
    monkeypatch.setattr(supervisor, "_SHORTEST_PAUSE", 0.01)
    with supervised(starts.command(STAY)):
        [first] = starts(1)
        assert os.getpgid(first) == first
        os.kill(first, signal.SIGKILL)
        second = starts(2)[-1]
        assert second != first
    assert wait_gone(second)
    assert len(starts(2)) == 2


def test_a_command_that_ends_at_once_is_started_ever_more_seldom(starts, monkeypatch):
    monkeypatch.setattr(supervisor, "_SHORTEST_PAUSE", 0.05)
    began = time.monotonic()
    with supervised(starts.command(LEAVE)):
        starts(4)
    assert time.monotonic() - began > 0.1 + 0.2 + 0.4


def test_a_command_that_cannot_be_started_is_tried_again(starts, monkeypatch):
    monkeypatch.setattr(supervisor, "_SHORTEST_PAUSE", 0.01)
    start = supervisor.dying_with_parent
    attempts = []

    def without_processes(command):
        attempts.append(command)
        if len(attempts) < 3:
            raise BlockingIOError("no process is left")
        return start(command)

    monkeypatch.setattr(supervisor, "dying_with_parent", without_processes)
    with supervised(starts.command(STAY)):
        starts(1)
    assert len(attempts) == 3


def test_a_command_that_will_not_end_is_killed(starts, wait_gone, monkeypatch):
    monkeypatch.setattr(supervisor, "_GRACE_SECONDS", 0.3)
    with supervised(starts.command(DEAF)):
        [pid] = starts(1)
    assert wait_gone(pid)


def test_it_ends_as_well_when_the_block_raises(starts, wait_gone):
    pids = []

    def work():
        with supervised(starts.command(STAY)):
            pids.extend(starts(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert wait_gone(pids[0])


def test_an_address_in_use_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            CannotListen, match=f"127.0.0.1:{port}.*in use.*CONVPRESS_PORT"
        ):
            listen("127.0.0.1", port)
    listen("127.0.0.1", port).close()


def test_an_address_of_another_machine_is_named():
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1"):
        listen("192.0.2.1", 8000)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_open_to_others_needs_keys(tmp_path, host):
    with pytest.raises(CannotListen, match="CONVPRESS_API_KEYS=true"):
        supervisor.serve(Settings(host=host, data_dir=tmp_path / "data"))
    assert not (tmp_path / "data").exists()


@pytest.fixture
def limit_of_files():
    """Set the soft limit on open files; it is as before after the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def limit(number):
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_soft_limit_on_open_files_becomes_the_hard_one(limit_of_files):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit_of_files(256)
    with capture_logs() as logs:
        supervisor.allow_open_files()
    most = min(hard, 2**20)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
    [line] = logs
    assert (line["before"], line["now"]) == (256, most)


def test_a_limit_on_open_files_that_is_high_enough_stays(limit_of_files, monkeypatch):
    limit_of_files(300)
    monkeypatch.setattr(supervisor, "_MOST_FILES", 300)
    with capture_logs() as logs:
        supervisor.allow_open_files()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300
    assert not logs
