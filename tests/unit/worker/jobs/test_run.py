"""An attempt without the data folder is nobody's fault, and makes no new folder."""

import shutil

import pytest

from app import data_folder
from app.db.models import Job
from app.db.session import transaction
from worker.jobs import run
from worker.jobs.outcomes import StoreUnavailable

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
