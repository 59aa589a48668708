"""A sandbox for a test's own code."""

import sys
import textwrap

import pytest

from worker.sandbox import run as sandbox
from worker.sandbox.policy import Confinement


@pytest.fixture
def shut_in(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret").write_text("secret")
    return Confinement(
        home,
        readable=(tmp_path / "script.py",),
        memory_bytes=2 * 1024**3,
        file_bytes=10_000,
    )


@pytest.fixture
def run(tmp_path):
    def run(confinement, code, seconds=120.0):
        script = tmp_path / "script.py"
        script.write_text("import os, sys, time, signal\n" + textwrap.dedent(code))
        return sandbox.run(
            (sys.executable, str(script)),
            [],
            confinement,
            seconds=seconds,
            on_progress=lambda _: None,
            is_wanted=lambda: True,
        )

    return run
