"""Archives of torch.export that act do so where no wall stands, and the gate refuses them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pt2_acts import HARMLESS_AS_COPIES, acting

from convpress.gate.check import require_safe
from convpress.gate.pt2.samples import write_without_samples
from convpress.limits import Limits
from convpress.refusal import Refusal

OPENER = Path(__file__).parent / "open_pt2.py"
NAMES = [name for name, _, _ in acting(lambda name: Path(name))]


@pytest.fixture
def files(tmp_path):
    """The files that act, by name; each would write a file of its name into `marks`."""
    marks = tmp_path / "marks"
    marks.mkdir()
    paths = {}
    for name, make, _ in acting(lambda name: marks / name):
        paths[name] = tmp_path / f"{name}.pt2"
        paths[name].write_bytes(make())
    return paths


def marks_after_opening(folder, marks):
    """The marks that torch leaves where it opens every file of a folder."""
    command = [sys.executable, "-P", str(OPENER), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, timeout=300, env=environment)
    return {path.name for path in marks.iterdir()}


@pytest.mark.hostile
def test_they_act_where_no_wall_stands(files, tmp_path):
    assert marks_after_opening(tmp_path, tmp_path / "marks") == set(files)


@pytest.mark.hostile
def test_copies_without_samples_and_guards_do_not_act(files, tmp_path):
    copies = tmp_path / "copies"
    copies.mkdir()
    for name in HARMLESS_AS_COPIES:
        require_safe(files[name], "pt2", Limits())
        write_without_samples(files[name], copies / f"{name}.pt2")
    assert marks_after_opening(copies, tmp_path / "marks") == set()


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in HARMLESS_AS_COPIES]
)
def test_the_gate_refuses_them(files, name):
    with pytest.raises(Refusal) as refusal:
        require_safe(files[name], "pt2", Limits())
    assert refusal.value.code == "model_unsafe"
