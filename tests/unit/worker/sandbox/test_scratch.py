"""Scratch folders vanish with their makers, whatever was left in them."""

import os
import subprocess
import sys

import pytest

from worker.sandbox.scratch import remove_orphans, scratch


def test_a_folder_is_there_during_the_block_and_gone_behind_it(tmp_path):
    with scratch(tmp_path / "scratch") as folder:
        assert {path.name for path in folder.iterdir()} == {"input", "output", "work"}
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "output" / "model.onnx").write_bytes(b"x")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_folder_goes_also_when_the_block_raises(tmp_path):
    with pytest.raises(KeyboardInterrupt), scratch(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_child_locked_up_is_removed_and_links_are_not_followed(tmp_path):
    treasure = tmp_path / "treasure"
    treasure.mkdir(mode=0o500)
    with scratch(tmp_path / "scratch") as folder:
        (folder / "output" / "link").symlink_to(treasure)
        locked = folder / "output" / "locked"
        (locked / "in" / "side").mkdir(parents=True)
        locked.chmod(0)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert treasure.stat().st_mode & 0o777 == 0o500


def test_folders_in_use_are_no_orphans(tmp_path):
    with scratch(tmp_path) as folder:
        assert remove_orphans(tmp_path) == 0
        assert folder.exists()


def test_the_folder_of_a_killed_process_is_removed(tmp_path):
    code = (
        "import sys, os, signal, pathlib; from worker.sandbox.scratch import scratch\n"
        "with scratch(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    assert remove_orphans(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_does_not_exist_has_no_orphans(tmp_path):
    assert remove_orphans(tmp_path / "nowhere") == 0


def test_folders_nested_without_end_are_removed(tmp_path):
    with scratch(tmp_path / "scratch") as folder:
        here = os.open(folder / "output", os.O_RDONLY)
        for _ in range(3000):
            os.mkdir("deeper-and-deeper", dir_fd=here)
            inner = os.open("deeper-and-deeper", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(os.open("file", os.O_CREAT, dir_fd=here))
        os.close(here)
    assert list((tmp_path / "scratch").iterdir()) == []
