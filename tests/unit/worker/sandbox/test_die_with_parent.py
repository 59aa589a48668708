"""A child process dies with the one that started it, also when that one is killed."""

import subprocess
import sys
import time

import pytest

from worker.sandbox.die_with_parent import dying_with_parent

PARENT = """
import subprocess, sys, time
from worker.sandbox.die_with_parent import dying_with_parent
command = dying_with_parent([sys.executable, '-c', 'import time; time.sleep(600)'])
child = subprocess.Popen(command, start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="the kernel's parent-death signal is Linux's"
)
@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_the_child_of_a_killed_parent_dies(wait_gone, pause):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline())
        time.sleep(
            pause
        )  # killed both while the child is becoming its command and long after
        parent.kill()
    assert wait_gone(child)


def test_the_command_runs_with_its_own_arguments_and_status():
    command = [
        sys.executable,
        "-c",
        "import sys; print(sys.argv[1:]); sys.exit(7)",
        "a b",
        "--help",
    ]
    ended = subprocess.run(
        dying_with_parent(command), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 7
    assert ended.stdout == "['a b', '--help']\n"


def test_it_does_not_begin_for_another_parent():
    command = dying_with_parent([sys.executable, "-c", "print('begun')"])
    command[4] = "1"
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert ended.stdout == ""
