"""Each wall alone stops every hostile file that it is there to stop; together they leave the service as it was."""

import os
import shutil
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import fuzz
import psutil
import pytest
from corpus import Hostile, corpus

from contract import gate
from contract.limits import Limits
from contract.refusal import Refusal
from worker import cell, sandbox
from worker.confinement import Confinement
from worker.engine.request import Request
from worker.messages import Failed, Succeeded
from worker.sandbox import Lost, TimedOut

OUTSIDE = Path(tempfile.gettempdir(), f"convpress-hostile-{os.getpid()}")
FILES = corpus(OUTSIDE)
BY_NAME = {file.name: file for file in FILES}
QUICK = [
    "torchscript: setstate-writes-a-mapped-file",
    "torchscript: setstate-saves-a-file",
    "onnx: weights-in-an-absolute-path",
    "onnx: network-that-fills-all-memory",
]

needs_cell = pytest.mark.skipif(
    cell.landlock_version() < 4 or cell.load_libseccomp() is None, reason="needs Landlock and libseccomp"
)


def each(files):
    return pytest.mark.parametrize("file", files, ids=[file.name.replace(" ", "-") for file in files])


def test_the_corpus_is_large_and_of_all_kinds():
    assert len(FILES) == len(BY_NAME) >= 100


@each(FILES)
def test_the_first_wall_alone(tmp_path, file):
    path = tmp_path / "model"
    path.write_bytes(file.content)
    started = time.process_time()
    with pytest.raises(Refusal) if file.refused else nullcontext() as refusal:
        gate.check(path, file.format, Limits())
    if refusal is not None:
        assert refusal.value.field == "model"
        assert len(refusal.value.detail) < 600
    assert time.process_time() - started < 10


@pytest.fixture
def outside():
    """What the files try to reach."""
    OUTSIDE.mkdir()
    (OUTSIDE / "secret").write_text("secret")
    yield OUTSIDE
    shutil.rmtree(OUTSIDE)


@pytest.fixture
def open_in_cell(tmp_path, outside):
    """Run the engine on a file in a cell, with or without the first wall before it; return how it ended."""

    def run(file: Hostile, limits: Limits | None, **walls):
        folder = tmp_path / "scratch"
        (folder / "input").mkdir(parents=True)
        home = folder / "work"
        home.mkdir()
        model = folder / "input" / ("model.onnx" if file.format == "onnx" else "model.pt")
        model.write_bytes(file.content)
        before = model.stat().st_mtime_ns
        request = Request(
            str(model),
            file.format,
            str(home / model.name),
            str(home / "report.json"),
            {"flops_budget": "0.5"},
            "1x1x8x8",
            limits=limits,
        )
        confinement = Confinement(home, readable=(folder / "input",), memory_bytes=3 * 1024**3, **walls)
        outcome = sandbox.run(
            sandbox.ENGINE,
            [request.to_json()],
            confinement,
            seconds=25.0,
            on_progress=lambda _: None,
            wanted=lambda: True,
        )
        assert model.stat().st_mtime_ns == before
        assert model.read_bytes() == file.content
        return outcome

    return run


def note(file, outcome):
    """Write how a file ended where HOSTILE_NOTES names a file."""
    if path := os.environ.get("HOSTILE_NOTES"):
        detail = outcome.error["code"] if isinstance(outcome, Failed) else type(outcome).__name__
        with Path(path).open("a") as notes:
            notes.write(f"{file.name}\t{'wall 1' if file.refused else '-'}\t{detail}\n")


def check_the_world(outcome, file):
    assert isinstance(outcome, Failed | Lost | TimedOut | Succeeded)
    assert [path.name for path in OUTSIDE.iterdir()] == ["secret"]
    assert (OUTSIDE / "secret").read_text() == "secret"
    assert not Path("/etc/evil").exists()
    assert [child for child in psutil.Process().children(recursive=True) if child.status() != "zombie"] == []


@needs_cell
@each([BY_NAME[name] for name in QUICK])
def test_the_cell_alone_stops_the_worst(open_in_cell, file):
    check_the_world(open_in_cell(file, None), file)


@pytest.mark.parametrize("name", ["setstate-writes-a-mapped-file", "setstate-saves-a-file"])
def test_the_harm_is_real_where_no_wall_stands(open_in_cell, outside, name):
    open_in_cell(BY_NAME[f"torchscript: {name}"], None, landlock=False, seccomp=False)
    assert (outside / "written").exists()


@needs_cell
@pytest.mark.hostile
@each(FILES)
def test_the_cell_alone(open_in_cell, file):
    outcome = open_in_cell(file, None)
    note(file, outcome)
    check_the_world(outcome, file)


@needs_cell
@pytest.mark.hostile
@each([file for file in FILES if "file" in file.name or "path" in file.name])
def test_landlock_alone(open_in_cell, file):
    check_the_world(open_in_cell(file, None, seccomp=False), file)


@needs_cell
@pytest.mark.hostile
@each([file for file in FILES if not file.refused])
def test_all_walls_together(open_in_cell, file):
    check_the_world(open_in_cell(file, Limits()), file)
    os.sync()


@needs_cell
def test_mutated_models_end_as_success_or_with_a_code(tmp_path):
    checks, ends, longest = fuzz.run(300, 1, seed=1, folder=tmp_path)
    assert checks.total() == 300
    assert checks["passed"] > 10
    assert longest < 1
    assert not {"Lost", "TimedOut"} & set(ends)
