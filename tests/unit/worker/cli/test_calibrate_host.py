"""The command that measures this host names the tables that it has written."""

from types import SimpleNamespace

import pytest

from worker.jobs import cost_tables
from worker.sandbox.doctor import SandboxIncomplete


def test_each_table_is_named(run, monkeypatch, data_dir):
    table = SimpleNamespace(runtime="ONNX Runtime 1.23", host="a host", format="onnx")

    def calibrate(_settings, on_progress):
        on_progress("onnx", SimpleNamespace(fraction=0.5))
        return [table]

    monkeypatch.setattr(cost_tables, "calibrate", calibrate)
    ended = run("calibrate-host")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.startswith("ONNX Runtime 1.23 on a host: ")
    assert ended.stdout.rstrip().endswith("onnx.json")


@pytest.mark.parametrize("kind", [SandboxIncomplete, cost_tables.NotMeasuredError])
def test_a_host_that_cannot_be_measured_ends_the_command(
    run, monkeypatch, data_dir, kind
):
    def calibrate(*_):
        raise kind("so it is")

    monkeypatch.setattr(cost_tables, "calibrate", calibrate)
    ended = run("calibrate-host")
    assert (ended.exit_code, "so it is" in ended.stderr) == (3, True)
