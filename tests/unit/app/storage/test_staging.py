"""A staged file is its maker's as long as the maker lives."""

import subprocess
import sys

from app.storage.staging import remove_abandoned, stage


def test_a_file_in_use_stays_and_one_left_behind_goes(tmp_path):
    with stage(tmp_path) as used:
        abandoned = stage(tmp_path)
        abandoned.close()
        assert remove_abandoned(tmp_path) == 1
        assert [path.name for path in tmp_path.iterdir()] == [
            used.name.rpartition("/")[2]
        ]
    assert remove_abandoned(tmp_path) == 1


def test_the_file_of_a_killed_process_goes_and_not_before(tmp_path):
    code = "import sys, time; from pathlib import Path; from app.storage.staging import stage\n"
    code += "file = stage(Path(sys.argv[1])); print(flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE
    ) as maker:
        maker.stdout.readline()
        assert remove_abandoned(tmp_path) == 0
        maker.kill()
    assert remove_abandoned(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
