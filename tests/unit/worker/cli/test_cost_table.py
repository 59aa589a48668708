"""The commands that make tables without the service check their target, and then measure."""

import os
import zipfile

import pytest

from worker.cli import cost_table
from worker.engine.costs import collector


@pytest.fixture
def measure(monkeypatch):
    """Let the collector write a text, and collect the numbers of its rounds."""
    asked = []

    def collect(path, rounds, on_progress):
        asked.append(rounds)
        on_progress(1, 2)
        path.write_text("table")

    monkeypatch.setattr(collector, "collect", collect)
    return asked


def test_a_table_is_written_where_it_was_asked_for(run, tmp_path, measure, monkeypatch):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    target = tmp_path / "device.json"
    ended = run("cost-table", "collect", "-o", target, "--rounds", 5)
    assert (ended.exit_code, ended.stdout.strip()) == (0, f"written to {target}")
    assert target.read_text() == "table"
    assert measure == [5]
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_nothing_is_measured_where_it_could_not_be_written(run, tmp_path, measure):
    assert run("cost-table", "collect", "-o", tmp_path).exit_code == 2
    assert run("cost-table", "collect", "--rounds", 0).exit_code == 2
    assert measure == []


def test_a_missing_runtime_is_named(run, tmp_path, measure, monkeypatch):
    monkeypatch.setattr(cost_table, "find_spec", lambda name: None)
    ended = run("cost-table", "collect", "-o", tmp_path / "t.json")
    assert ended.exit_code == 2
    assert "needs numpy, onnxruntime: " in ended.stderr
    assert measure == []


def test_the_collector_is_one_file(run, tmp_path):
    target = tmp_path / "collect.pyz"
    assert run("cost-table", "pack", target).exit_code == 0
    with zipfile.ZipFile(target) as archive:
        assert "__main__.py" in archive.namelist()
