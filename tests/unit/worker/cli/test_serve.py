"""The command of the whole service: its settings, and the reasons why it does not start."""

import os
from dataclasses import fields

import pytest

from app.settings import Settings, get_settings
from convpress.limits import Limits
from worker.cli import supervisor
from worker.cli.supervisor import CannotListen
from worker.sandbox.doctor import DeviceMissing, SandboxIncomplete


def test_every_setting_is_listed_with_its_default(run):
    done = run("serve", "--settings")
    assert done.exit_code == 0
    for name in Settings.model_fields:
        assert f"CONVPRESS_{name.upper()}" in done.stdout
    for limit in fields(Limits):
        assert f"CONVPRESS_LIMITS__{limit.name.upper()}={limit.default}" in done.stdout
    assert "CONVPRESS_WEBHOOK_SECRET=unset" in done.stdout
    assert "--settings" in run("serve", "--help").stdout


@pytest.mark.parametrize("kind", [CannotListen, DeviceMissing, SandboxIncomplete])
def test_a_service_that_cannot_start_ends_with_the_reason(run, monkeypatch, kind):
    def serve(_settings):
        raise kind("so it is")

    monkeypatch.setattr(supervisor, "serve", serve)
    ended = run("serve")
    assert (ended.exit_code, ended.stderr) == (1, "so it is\n")


def test_options_are_settings_of_the_worker_too(run, monkeypatch, tmp_path):
    served = []
    monkeypatch.setattr(supervisor, "serve", served.append)
    for name in ("HOST", "PORT", "DATA_DIR"):
        monkeypatch.setenv(f"CONVPRESS_{name}", "0")
    get_settings.cache_clear()
    assert run("serve", "--port", 8123, "--data-dir", tmp_path).exit_code == 0
    get_settings.cache_clear()
    [settings] = served
    assert (settings.port, settings.data_dir) == (8123, tmp_path)
    assert (os.environ["CONVPRESS_PORT"], os.environ["CONVPRESS_HOST"]) == ("8123", "0")
