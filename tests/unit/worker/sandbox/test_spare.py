"""A spare child is as confined as any other, serves one job, and leaves nothing behind."""

import json
import os
import subprocess
import sys

import psutil
import pytest

from worker.sandbox import launcher, probe, spare
from worker.sandbox import run as sandbox
from worker.sandbox.messages import Succeeded
from worker.sandbox.policy import Confinement
from worker.sandbox.run import Lost
from worker.sandbox.spare import Spare, Spares

needs_walls = pytest.mark.skipif(
    launcher.landlock_version() < 3 or launcher.load_libseccomp() is None,
    reason="needs a kernel with Landlock 3, and libseccomp",
)
WAITING = """
import json, os, runpy, sys
assert sys.argv[1] == "wait"
code, *arguments = json.loads(sys.stdin.buffer.read())
exec(code)
print('{"event": "succeeded"}', flush=True)
"""
ENDING = """
import sys
sys.stdin.read()
print('{"event": "succeeded"}', flush=True)
"""
PROBE = """
probe = runpy.run_path(arguments[0])
targets = json.loads(arguments[1])
escapes = {name: probe["_successes"](tries) for name, tries in (
    ("files", probe["_attempts_on_files"](targets)),
    ("network", probe["_attempts_on_network"](targets)),
    ("processes", probe["_attempts_on_processes"](targets)),
    ("memory", probe["_attempts_on_memory"](targets)),
)}
open("escapes.json", "w").write(json.dumps(escapes))
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start spares that run Python in the place of the engine, with all walls or without."""
    script = tmp_path / "engine.py"
    script.write_text(WAITING)
    monkeypatch.setattr(sandbox, "ENGINE", (sys.executable, str(script)))

    def start(readable=(), **walls):
        def confine(folder):
            return Confinement(
                folder / "work",
                writable=(folder / "output",),
                readable=(folder / "input", script, *readable),
                memory_bytes=2 * 1024**3,
                **walls,
            )

        return Spare(tmp_path / "scratch", confine, seconds=120.0)

    return lambda **walls: start(**({"landlock": 0, "seccomp": False} | walls))


def serve(child, code, *arguments):
    return child.run(
        [code, *arguments],
        seconds=120.0,
        on_progress=lambda _: None,
        is_wanted=lambda: True,
        on_log=lambda _: None,
    )


def children():
    return set(psutil.Process().children(recursive=True))


@needs_walls
def test_files_that_come_after_the_walls_can_be_read_and_no_others(start, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with start(landlock=launcher.landlock_version(), seccomp=True) as child:
        upload = child.folder / "input" / "model.onnx"
        upload.write_text("upload")
        targets = {
            "secret": str(secret),
            "upload": str(upload),
            "port": 9,
            "worker": os.getpid(),
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "memory": 4 * 1024**3,
            "shared_too": True,
            "proc_too": True,
        }
        code = f"assert open({str(upload)!r}).read() == 'upload'\n{PROBE}"
        outcome = serve(child, code, probe.__file__, json.dumps(targets))
        assert outcome == Succeeded()
        escapes = json.loads((child.folder / "work" / "escapes.json").read_text())
    assert escapes == {"files": [], "network": [], "processes": [], "memory": []}


def test_a_spare_serves_one_job_and_is_gone_with_its_folder(start, tmp_path):
    before = children()
    with start() as child:
        assert child.is_usable()
        assert serve(child, "") == Succeeded()
        assert not child.is_usable()
    assert children() == before
    assert list((tmp_path / "scratch").iterdir()) == []


def test_nothing_of_the_worker_is_open_in_the_child_but_its_standard_streams(start):
    code = "raise SystemExit(sorted(map(int, os.listdir('/proc/self/fd')))[:-1] != [0, 1, 2])"
    with start() as child:
        outcome = serve(child, code)
    assert isinstance(outcome, Lost)
    assert "status 0" in outcome.reason


def test_an_unused_spare_is_gone_with_its_folder(start, tmp_path):
    before = children()
    with start():
        assert children() > before
    assert children() == before
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_spare_is_replaced_after_it_was_taken(start):
    spares = Spares()
    spares.keep(start)
    first = spares.take()
    assert spares.take() is None
    spares.refill()
    second = spares.take()
    assert first
    assert second
    assert first.folder != second.folder
    with first, second:
        assert serve(second, "") == serve(first, "") == Succeeded()


def test_a_spare_that_was_killed_is_not_given_and_is_replaced(start, wait_gone):
    before = children()
    spares = Spares()
    spares.keep(start)
    killed = children() - before
    for process in killed:
        process.kill()
    # psutil's own wait would reap the keeper, and its number could be another's.
    assert all(wait_gone(process.pid) for process in killed)
    assert spares.take() is None
    spares.refill()
    child = spares.take()
    assert child
    with child:
        assert serve(child, "") == Succeeded()
    assert children() == before


def test_a_spare_in_a_folder_that_was_moved_is_not_given(start, tmp_path):
    spares = Spares()
    spares.keep(start)
    scratch = tmp_path / "scratch"
    scratch.rename(tmp_path / "away")
    assert spares.take() is None
    (tmp_path / "away").rename(scratch)


@pytest.mark.parametrize("name", ["input", "output", "work"])
@pytest.mark.parametrize("is_made_again", [False, True])
def test_a_spare_that_lost_a_folder_of_its_own_is_not_given(start, name, is_made_again):
    with start() as child:
        folder = child.folder / name
        # Its inode stays in use, so that a new folder has another one.
        folder.rename(child.folder / "away")
        if is_made_again:
            folder.mkdir()
        assert not child.is_usable()


@pytest.mark.parametrize("was_there", [False, True])
def test_a_spare_is_not_given_after_a_folder_that_it_may_read_was_replaced(
    start, tmp_path, was_there
):
    mounted = tmp_path / "mounted"
    if was_there:
        mounted.mkdir()
    with start(readable=(mounted,)) as child:
        assert child.is_usable()
        (tmp_path / "new").mkdir()
        if was_there:
            mounted.rename(tmp_path / "old")
        (tmp_path / "new").rename(mounted)
        assert not child.is_usable()


def test_a_spare_that_served_is_reaped_before_another_child_of_its_job_ends(tmp_path):
    """A worker adopts orphans: it would warn of a process that outlived its keeper."""
    program = f"""
import sys
from pathlib import Path
from worker.sandbox import remains
from worker.sandbox import run as sandbox
from worker.sandbox.policy import Confinement
from worker.sandbox.spare import Spare
remains.adopt_orphans()
warnings = []
remains.log.warning = lambda event, **_: warnings.append(event)
script = Path({str(tmp_path / "engine.py")!r})
script.write_text({ENDING!r})
sandbox.ENGINE = (sys.executable, str(script))
def confine(folder):
    return Confinement(folder / "work", landlock=0, seccomp=False)
own = dict(seconds=120.0, on_progress=lambda _: None, is_wanted=lambda: True)
with Spare(Path({str(tmp_path / "scratch")!r}), confine, 120.0) as child:
    child.run([], on_log=lambda _: None, **own)
    sandbox.run(sandbox.ENGINE, [], confine(child.folder), **own)
print(warnings)
"""
    worker = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        timeout=300,
        text=True,
    )
    assert worker.stdout.splitlines()[-1] == "[]"


def test_after_the_end_there_is_no_spare(start):
    before = children()
    spares = Spares()
    spares.keep(start)
    spares.end()
    spares.refill()
    assert spares.take() is None
    assert children() == before


def test_without_room_for_a_spare_jobs_go_on(monkeypatch):
    def refuse():
        raise OSError("no process more")

    events = []
    monkeypatch.setattr(spare.log, "warning", lambda event, **_: events.append(event))
    spares = Spares()
    spares.keep(refuse)
    assert spares.take() is None
    assert events == ["no spare child could be started"]


def test_a_spare_that_dies_while_it_is_sent_its_job_is_lost(start):
    before = children()
    with start() as child:
        for process in children() - before:
            process.kill()
        assert isinstance(serve(child, "#" * 10**6), Lost)
    assert children() == before
