"""Releases of Python with known faults are warned of, by the doctor and the audit."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from worker.cli import main
from worker.interpreter import known_faults, warnings

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ((3, 11, 7), ["2024-0450", "2024-6232", "2024-7592", "2025-8194", "2025-8291"]),
        ((3, 11, 9), ["2024-6232", "2024-7592", "2025-8194", "2025-8291"]),
        ((3, 12, 6), ["2025-8194", "2025-8291"]),
        ((3, 13, 6), ["2025-8291"]),
        ((3, 14, 0), ["2025-8291"]),
        ((3, 11, 14), []),
        ((3, 14, 1), []),
        ((3, 15, 0), []),
    ],
)
def test_the_faults_of_a_release_are_known(version, numbers):
    assert [fault.number for fault in known_faults(version)] == [
        f"CVE-{n}" for n in numbers
    ]


def test_a_warning_names_the_release_that_mends_the_fault():
    first, *_ = warnings((3, 11, 9))
    assert "Python 3.11.9 has CVE-2024-6232" in first
    assert "3.11.10 mends it" in first


def test_the_audit_warns_of_the_release_that_runs_it():
    command = [sys.executable, "-m", "worker.interpreter"]
    process = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=300
    )
    assert process.stderr.splitlines() == warnings(sys.version_info[:3])
    assert "-m worker.interpreter" in (ROOT / "Makefile").read_text()


def test_the_doctor_warns_without_failing_for_it(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("worker.sandbox.doctor.examine", lambda _: [])
    monkeypatch.setattr("worker.sandbox.doctor.require_device", lambda _: None)
    monkeypatch.setattr(
        "worker.interpreter.known_faults", lambda _: known_faults((3, 11, 13))
    )
    done = CliRunner().invoke(main.app, ["doctor"])
    assert done.exit_code == 0
    assert "has CVE-2025-8194: tarfile loops" in done.stdout


@pytest.mark.parametrize("name", ["api", "worker"])
def test_images_have_a_release_without_known_faults(name):
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text()
    releases = set(re.findall(r"^FROM python:(\S+?)-", text, re.MULTILINE))
    assert len(releases) == 1
    major, minor, micro = map(int, releases.pop().split("."))
    assert known_faults((major, minor, micro)) == []
