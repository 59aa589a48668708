"""The doctor: a service starts only where the sandbox is whole, or its gaps are accepted."""

import os

import pytest
from support.sandboxing import needs_landlock, needs_seccomp

from app.settings import Settings
from worker.sandbox import doctor, launcher
from worker.sandbox.doctor import Check, DeviceMissing, SandboxIncomplete


def test_without_its_device_a_service_does_not_start():
    with pytest.raises(
        DeviceMissing,
        match="CONVPRESS_DEVICE=cuda:99, but torch cannot compute on the device",
    ):
        doctor.require_device("cuda:99")
    doctor.require_device("cpu")


def test_a_gap_in_the_sandbox_has_to_be_accepted_by_a_setting(monkeypatch):
    missing = Check(
        "files", "a model reads nothing", holds=False, evidence="it read a file outside"
    )
    monkeypatch.setattr(doctor, "examine", lambda device: [missing])
    with pytest.raises(
        SandboxIncomplete, match="CONVPRESS_ACCEPT_MODELS_THAT_CAN_ESCAPE=true"
    ):
        doctor.require(Settings())
    doctor.require(Settings(accept_models_that_can_escape=True))


def test_a_probe_that_cannot_run_shows_no_promise_that_holds(monkeypatch):
    monkeypatch.setattr(doctor, "_PROBE", ("/nowhere",))
    checks = doctor.examine()
    assert not any(check.holds for check in checks)
    assert "could not be set up" in checks[0].evidence


def test_the_doctor_says_what_the_kernel_and_the_user_mean(monkeypatch):
    monkeypatch.setattr(launcher, "landlock_version", lambda: 5)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    here, signals, root = doctor.notes()
    assert "has Landlock 5, which restricts files," in here
    assert (
        "signals and abstract UNIX sockets only since its version 6, Linux 6.12"
        in signals
    )
    assert root.startswith("this process runs as root")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert len(doctor.notes()) == 2


@needs_landlock
@needs_seccomp
def test_all_promises_hold_here():
    assert [check for check in doctor.examine() if not check.holds] == []
