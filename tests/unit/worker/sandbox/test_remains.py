"""What outlives a killed keeper is killed by the worker, and nothing else is."""

import json
import os
import subprocess
import sys
import time

import pytest

from worker.sandbox import run as sandbox
from worker.sandbox.policy import Confinement
from worker.sandbox.run import Lost

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

OUTLIVES = """
import ctypes, os, signal, time
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
{leave}
with open('part', 'w') as file:
    file.write(str(os.getpid()))
os.rename('part', 'pid')
os.kill(int(open('keeper').read()), signal.SIGKILL)
time.sleep(600)
"""
"""Without seccomp, a child can clear its parent-death signal and kill its keeper."""

WORKER = """
import json, subprocess, sys, threading, time
from pathlib import Path
from worker.sandbox import remains, run as sandbox
from worker.sandbox.policy import Confinement
remains.adopt_orphans()
home = Path(sys.argv[1])

def run(folder, code, seconds):
    (home / folder).mkdir()
    confinement = Confinement(home / folder, landlock=0, seccomp=False)
    return sandbox.run((sys.executable, "-c", code), [], confinement, seconds=seconds,
        on_progress=lambda _: None, is_wanted=lambda: True)

ended = []
other = threading.Thread(target=lambda: ended.append(run("other", sys.argv[3], 600)))
other.start()
while not (home / "other" / "started").exists():
    time.sleep(0.01)
outcome = run("job", sys.argv[2], 600)
(home / "other" / "go").touch()
other.join()
print(json.dumps([type(outcome).__name__, type(ended[0]).__name__]))
"""
"""A worker with another job beside the one that kills its keeper."""

OTHER = """
import os, time
open('started', 'w').close()
while not os.path.exists('go'):
    time.sleep(0.01)
print('{"event": "succeeded"}', flush=True)
"""

SESSION = OUTLIVES.format(
    leave="""
open('keeper', 'w').write(str(os.getppid()))
os.setpgid(0, 0)
"""
)
AWAY = OUTLIVES.format(
    leave="""
open('keeper', 'w').write(str(os.getppid()))
if os.fork():
    time.sleep(600)
os.setsid()
"""
)


def test_it_is_found_in_the_session_of_its_keeper(tmp_path, wait_gone):
    outcome = sandbox.run(
        (sys.executable, "-c", SESSION),
        [],
        Confinement(tmp_path, landlock=0, seccomp=False),
        seconds=600,
        on_progress=lambda _: None,
        is_wanted=lambda: True,
    )
    assert isinstance(outcome, Lost)
    assert "signal 9" in outcome.reason
    assert wait_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("code", [SESSION, AWAY], ids=["in its session", "in another"])
def test_a_worker_adopts_what_has_left_the_session_and_spares_its_other_jobs(
    tmp_path, wait_gone, code
):
    worker = subprocess.run(
        [sys.executable, "-c", WORKER, str(tmp_path), code, OTHER],
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert worker.returncode == 0, worker.stderr
    assert json.loads(worker.stdout.splitlines()[-1]) == ["Lost", "Succeeded"]
    assert wait_gone(int((tmp_path / "job" / "pid").read_text()))


def test_it_leaves_the_other_children_of_a_program_alone(tmp_path):
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as child:
        sandbox.run(
            (sys.executable, "-c", "pass"),
            [],
            Confinement(tmp_path, landlock=0, seccomp=False),
            seconds=600,
            on_progress=lambda _: None,
            is_wanted=lambda: True,
        )
        time.sleep(0.1)
        assert child.poll() is None
        os.kill(child.pid, 9)
