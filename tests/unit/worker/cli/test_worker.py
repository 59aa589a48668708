"""The command of a worker ends with the worker's status, or with the reason why there is none."""

import pytest

from app.tracing import TracingMissing
from worker import celery_app
from worker.sandbox import doctor
from worker.sandbox.doctor import DeviceMissing, SandboxIncomplete


@pytest.fixture
def whole_sandbox(monkeypatch):
    monkeypatch.setattr(doctor, "require", lambda _settings: None)


def test_a_worker_ends_with_its_status(run, monkeypatch, whole_sandbox):
    monkeypatch.setattr(celery_app, "run_worker", lambda: 70)
    assert run("worker").exit_code == 70


@pytest.mark.parametrize("kind", [DeviceMissing, SandboxIncomplete])
def test_a_worker_without_a_sandbox_or_its_device_does_not_start(
    run, monkeypatch, kind
):
    def require(_settings):
        raise kind("so it is")

    monkeypatch.setattr(doctor, "require", require)
    monkeypatch.setattr(celery_app, "run_worker", lambda: pytest.fail("it started"))
    ended = run("worker")
    assert (ended.exit_code, ended.stderr) == (1, "so it is\n")


def test_a_missing_package_is_wrong_usage(run, monkeypatch, whole_sandbox):
    def run_worker():
        raise TracingMissing("install it")

    monkeypatch.setattr(celery_app, "run_worker", run_worker)
    assert run("worker").exit_code == 2
