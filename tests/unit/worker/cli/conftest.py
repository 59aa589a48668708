"""A model to compress, the command line, its data folder, and an engine that must not start."""

import pytest
from typer.testing import CliRunner

from app.settings import get_settings
from worker import offline
from worker.cli import main

ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(ONNX)
    return path


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(main.app, list(map(str, arguments)))


@pytest.fixture
def no_engine(monkeypatch):
    monkeypatch.setattr(
        offline.sandbox, "run", lambda *_, **__: pytest.fail("the engine was started")
    )


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVPRESS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CONVPRESS_DATABASE_URL", raising=False)
    get_settings.cache_clear()
    yield tmp_path / "data"
    get_settings.cache_clear()
