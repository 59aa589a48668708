"""Archives of torch.export that act do so where no wall stands, and the gate refuses them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pt2_acts import HARMLESS_AS_COPIES, acting, importing

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


def printed_by_opening(folder):
    """What torch prints where it opens every file of a folder."""
    command = [sys.executable, "-P", str(OPENER), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        command, check=True, timeout=300, env=environment, stdout=subprocess.PIPE
    )
    return process.stdout.decode()


def marks_after_opening(folder, marks):
    """The marks that torch leaves where it opens every file of a folder."""
    printed_by_opening(folder)
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


@pytest.mark.hostile
@pytest.mark.parametrize("structure", ["in_spec", "out_spec"])
def test_a_key_of_a_structure_imports_a_module_where_no_wall_stands(
    tmp_path, structure
):
    (tmp_path / "model.pt2").write_bytes(importing(structure))
    assert "The Zen of Python" in printed_by_opening(tmp_path)


@pytest.mark.parametrize("structure", ["in_spec", "out_spec"])
def test_the_gate_refuses_a_key_that_imports_a_module(tmp_path, structure):
    path = tmp_path / "model.pt2"
    path.write_bytes(importing(structure))
    with pytest.raises(Refusal, match="that torch would import") as refusal:
        require_safe(path, "pt2", Limits())
    assert refusal.value.code == "model_unsafe"
