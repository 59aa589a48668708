"""A cost table is replaced as a whole, and stays as it is where the benchmark fails."""

from pathlib import Path

import pytest
from support.engine.costs import cost_table
from typer.testing import CliRunner

from app.settings import get_settings
from convpress.formats import FORMATS
from convpress.refusal import Refusal
from convpress.targets import TARGETS
from worker.cli import main
from worker.engine.costs import table_file
from worker.engine.costs.plans import PLANS
from worker.jobs import cost_tables
from worker.jobs.cost_tables import Table
from worker.sandbox.messages import Progress, Succeeded
from worker.sandbox.run import Lost


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVPRESS_COSTS_DIR", str(tmp_path / "costs"))
    get_settings.cache_clear()
    yield tmp_path / "costs"
    get_settings.cache_clear()


@pytest.fixture
def benchmark(monkeypatch):
    """Stand for the child: write what the test says of a format, and end as it says."""

    def stand(write, outcome):
        def run(command, arguments, confinement, *, on_progress, **_):
            assert command == cost_tables.ENGINE
            verb, model_format, path = arguments
            assert verb == "calibrate-host"
            assert confinement.readable == ()  # it can read no model
            on_progress(Progress("measuring", 0.5))
            write(model_format, Path(path))
            return outcome

        monkeypatch.setattr(cost_tables.sandbox, "run", run)

    return stand


def measured(model_format, path):
    cost_table(model_format, layer_ns=7.0 if model_format == "onnx" else 9.0).write(
        path
    )


def test_all_runtimes_are_measured_and_their_tables_found_from_then_on(
    folder, benchmark
):
    benchmark(measured, Succeeded())
    assert cost_tables.digest(None) is None
    reports = []
    cost_tables.calibrate(
        get_settings(),
        lambda model_format, progress: reports.append(
            (model_format, progress.fraction)
        ),
    )
    assert reports == [("onnx", 0.5), ("torchscript", 0.5)]
    tables = {name: cost_tables.table_of(get_settings(), name) for name in FORMATS}
    assert tables == {
        "onnx": Table(folder / "onnx.json"),
        "torchscript": Table(folder / "torchscript.json"),
        "pt2": Table(folder / "torchscript.json"),
    }
    read = {name: table_file.read(table.path, name) for name, table in tables.items()}
    assert [table.layer_ns for table in read.values()] == [7.0, 9.0, 9.0]
    # a table is of the format that is read, although its file is of another one
    assert (
        table_file.read(folder / "torchscript.json", "torchscript").format
        == "torchscript"
    )
    assert read["pt2"].format == "pt2"
    assert read["onnx"].digest == cost_tables.digest(tables["onnx"])


def test_without_a_measured_table_the_shipped_one_of_the_host_serves(
    folder, monkeypatch
):
    monkeypatch.setattr(cost_tables, "host_target", lambda: "x86-avx2")
    table = cost_tables.table_of(get_settings(), "onnx")
    assert table.origin == "shipped for onnxruntime-x86-avx2"
    assert not table.decides
    assert (
        cost_tables.table_of(get_settings(), "pt2").origin
        == "shipped for torch-x86-avx2"
    )
    monkeypatch.setattr(cost_tables, "host_target", lambda: None)
    assert cost_tables.table_of(get_settings(), "onnx") is None


def test_a_target_goes_before_the_table_of_the_host(folder, benchmark):
    benchmark(measured, Succeeded())
    cost_tables.calibrate(get_settings(), lambda *_: None)
    table = cost_tables.table_of(get_settings(), "onnx", "x86-avx512")
    assert table.origin == "shipped for onnxruntime-x86-avx512"
    assert table.decides


def test_a_table_of_ones_own_goes_before_the_host_but_not_with_a_target(
    folder, tmp_path
):
    own = tmp_path / "own.json"
    members = cost_tables.request_members(get_settings(), "onnx", None, own)
    assert members == {"costs": str(own), "costs_origin": "", "costs_decide": True}
    with pytest.raises(Refusal) as refused:
        cost_tables.request_members(get_settings(), "onnx", "x86-avx2", own)
    assert (refused.value.field, refused.value.got) == ("target", "both")


@pytest.mark.parametrize("model_format", FORMATS)
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_a_table_for_every_format(folder, model_format, target):
    table = cost_tables.table_of(get_settings(), model_format, target)
    read = table_file.read(table.path, model_format)
    assert PLANS.keys() <= read.grids.keys()
    assert read.block == (16 if table.path.stem == "onnxruntime-x86-avx512" else 8)


@pytest.mark.parametrize(
    ("write", "outcome", "error"),
    [
        (lambda *_: None, Lost("it was killed", ""), cost_tables.NotMeasuredError),
        (lambda _, path: path.write_text("{}"), Succeeded(), Refusal),
        (lambda _, path: path.symlink_to("/etc/passwd"), Succeeded(), Refusal),
    ],
    ids=["killed", "no table", "a link"],
)
def test_a_benchmark_that_fails_leaves_the_table_that_is_there(
    folder, benchmark, write, outcome, error
):
    benchmark(measured, Succeeded())
    cost_tables.calibrate(get_settings(), lambda *_: None)
    before = (folder / "onnx.json").read_bytes()
    benchmark(write, outcome)
    with pytest.raises(error):
        cost_tables.calibrate(get_settings(), lambda *_: None)
    assert (folder / "onnx.json").read_bytes() == before
    assert {path.name for path in folder.iterdir()} == {"onnx.json", "torchscript.json"}


def test_the_command_tells_where_the_tables_lie_or_what_went_wrong(folder, benchmark):
    benchmark(measured, Succeeded())
    done = CliRunner().invoke(main.app, ["calibrate-host"])
    assert done.exit_code == 0, done.output
    assert f"a runtime on a host: {folder / 'onnx.json'}" in done.output
    benchmark(lambda *_: None, Lost("it was killed", ""))
    failed = CliRunner().invoke(main.app, ["calibrate-host"])
    assert (failed.exit_code, "it was killed" in failed.output) == (3, True)
