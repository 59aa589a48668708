"""Attempts: without the data folder they are nobody's fault; the child may read the photographs."""

import json
import shutil

import pytest
from support.service import fake_engine

from app import data_folder
from app.db.models import Job
from app.db.session import transaction
from app.storage import artifact_key, get_storage
from worker.jobs import run
from worker.jobs.outcomes import StoreUnavailable
from worker.queue.lease import AdviceResult
from worker.sandbox.run import Lost

pytestmark = pytest.mark.usefixtures("engine_without_work")


@pytest.fixture
def attempt(settings, make_job):
    """Make an attempt at a new job, and return its outcome."""
    data_folder.prepare(settings)
    with transaction() as session:
        job = session.get_one(Job, make_job())
    return lambda: run.run_job(job, settings, lambda _: None, lambda: True)


def test_a_folder_that_is_gone_before_the_attempt(attempt, settings):
    shutil.rmtree(settings.data_dir)
    assert attempt() == StoreUnavailable()
    assert not settings.data_dir.exists()


def test_a_folder_that_goes_during_the_attempt(attempt, settings, monkeypatch):
    fetch = run.fetch_inputs

    def fetch_without_folder(*arguments, **options):
        shutil.rmtree(settings.data_dir)
        return fetch(*arguments, **options)

    monkeypatch.setattr(run, "fetch_inputs", fetch_without_folder)
    assert attempt() == StoreUnavailable()
    assert not settings.data_dir.exists()


def test_the_child_is_told_of_the_operators_photographs_and_may_read_them(
    settings, make_job, tmp_path, monkeypatch
):
    data_folder.prepare(settings)
    with transaction() as session:
        job = session.get_one(Job, make_job())
    confine, engine = run.doctor.confined, run.sandbox.run
    readable, requests = [], []

    def confined(home, **limits):
        readable.extend(limits["readable"])
        return confine(home, **limits)

    def started(command, arguments, *others, **options):
        requests.append(json.loads(arguments[-1]))
        return engine(command, arguments, *others, **options)

    monkeypatch.setattr(run.doctor, "confined", confined)
    monkeypatch.setattr(run.sandbox, "run", started)
    own = settings.model_copy(update={"photographs_dir": tmp_path / "own"})
    run.run_job(job, own, lambda _: None, lambda: True)
    assert tmp_path / "own" in readable
    assert requests[0]["photographs"] == str(tmp_path / "own")


def test_an_advice_is_stored_without_an_artifact(settings, make_job):
    data_folder.prepare(settings)
    with transaction() as session:
        job = session.get_one(Job, make_job(kind="advice", flops_budget=""))
    outcome = run.run_job(job, settings, lambda _: None, lambda: True)
    assert isinstance(outcome, AdviceResult)
    assert outcome.advice == {
        "choice": fake_engine.ADVICE["choice"],
        "text": fake_engine.ADVICE["text"],
    }
    content = get_storage().content(artifact_key(job.id, outcome.report_sha256))
    assert json.loads(content) == fake_engine.ADVICE


def test_an_advice_that_is_none_loses_the_attempt(settings, make_job, monkeypatch):
    data_folder.prepare(settings)
    monkeypatch.setattr(run, "_command", lambda _: [])  # the child writes a report then
    with transaction() as session:
        job = session.get_one(Job, make_job(kind="advice", flops_budget=""))
    outcome = run.run_job(job, settings, lambda _: None, lambda: True)
    assert isinstance(outcome, Lost)
    assert "not a Advice" in outcome.reason
