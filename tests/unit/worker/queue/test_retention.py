"""Retention deletes expired files and orphans, and never a file that a job needs."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from app.db.models import Model, OwnedModel, Samples
from app.db.session import transaction
from app.storage import analysis_key, artifact_key, get_storage, model_key, samples_key
from worker.queue import retention

DAY = timedelta(days=1)
OLD = datetime.now(UTC) - 2 * DAY
NEW = datetime.now(UTC)
SHA = "a" * 64
OTHER = "b" * 64


def stored():
    return {
        key
        for folder in ("models/", "samples/", "artifacts/")
        for key in get_storage().keys(folder)
    }


@pytest.fixture
def sampled(make_job, load_job, store_file):
    """A job that came with samples."""

    def make(sha256, used_at, **columns):
        job_id = make_job(samples_sha256=sha256, **columns)
        store_file(samples_key(sha256))
        with transaction() as session:
            session.merge(
                Samples(sha256=sha256, bytes=1, created_at=used_at, used_at=used_at)
            )
        return load_job(job_id)

    return make


@pytest.fixture
def ended(make_job, store_file):
    """A job that has ended, with its artifact and report in the store."""

    def make(finished_at, **columns):
        job_id = make_job(
            **{
                "state": "succeeded",
                "artifact_sha256": SHA,
                "report_sha256": OTHER,
                **columns,
            },
            finished_at=finished_at,
        )
        for sha256 in (SHA, OTHER):
            store_file(artifact_key(job_id, sha256))
        return job_id

    return make


def test_what_a_job_made_goes_when_its_time_is_over_and_the_job_stays(ended, load_job):
    old = ended(OLD)
    new = ended(NEW)
    retention.expire_artifacts(get_storage(), DAY)
    assert load_job(old).expired_at
    assert load_job(new).expired_at is None
    assert {key for key in stored() if key.startswith("artifacts/")} == {
        artifact_key(new, SHA),
        artifact_key(new, OTHER),
    }


def test_a_model_goes_when_no_job_was_posted_for_it_in_time(make_job, load_job):
    old = load_job(make_job(state="succeeded", age_seconds=2 * DAY.total_seconds()))
    new = load_job(make_job(content=b"\x08\x0a\x3a\x00new", state="succeeded"))
    needed = load_job(
        make_job(content=b"\x08\x0a\x3a\x00old", age_seconds=2 * DAY.total_seconds())
    )
    retention.expire_uploads(get_storage(), DAY)
    assert stored() == {model_key(new.model_sha256), model_key(needed.model_sha256)}
    with transaction() as session:
        assert session.get_one(Model, old.model_sha256).expired_at
        assert session.get_one(Model, new.model_sha256).expired_at is None


def test_samples_go_as_models_do(sampled):
    old = sampled(SHA, OLD, state="succeeded")
    needed = sampled(OTHER, OLD)
    new = sampled("c" * 64, NEW, state="succeeded")
    retention.expire_uploads(get_storage(), DAY)
    kept = {samples_key(needed.samples_sha256), samples_key(new.samples_sha256)}
    assert {key for key in stored() if key.startswith("samples/")} == kept
    with transaction() as session:
        assert session.get_one(Samples, old.samples_sha256).expired_at
        assert session.get_one(Samples, needed.samples_sha256).expired_at is None


def test_orphaned_samples_go_and_leave_no_row_behind(sampled, store_file):
    job = sampled(SHA, NEW)
    store_file(samples_key(OTHER))
    assert retention.remove_orphans(get_storage()) == 1
    assert stored() == {model_key(job.model_sha256), samples_key(SHA)}
    with transaction() as session:
        assert session.get(Samples, OTHER) is None


def test_files_that_no_row_knows_are_orphans(ended, make_job, store_file, load_job):
    kept = ended(NEW)
    running = make_job(state="running")
    expired = ended(OLD, expired_at=NEW)
    unknown = uuid.uuid4()
    known = {
        artifact_key(kept, SHA),
        artifact_key(kept, OTHER),
        model_key(load_job(kept).model_sha256),
    }
    known |= {artifact_key(running, SHA)}
    orphans = {
        artifact_key(kept, "c" * 64),
        artifact_key(unknown, SHA),
        model_key("d" * 64),
    }
    for key in known | orphans:
        store_file(key)
    # with the two of the expired job
    assert retention.remove_orphans(get_storage()) == len(orphans) + 2
    assert stored() == known
    assert expired not in {key.split("/")[1] for key in stored()}
    assert retention.remove_orphans(get_storage()) == 0


def test_an_orphaned_model_leaves_no_row_behind(make_job, store_file):
    store_file(model_key("d" * 64))
    assert retention.remove_orphans(get_storage()) == 1
    with transaction() as session:
        assert session.get(Model, "d" * 64) is None


def test_what_is_none_of_ours_is_left_alone(store_file):
    store_file("artifacts/notes/readme")
    assert retention.remove_orphans(get_storage()) == 0
    assert stored() == {"artifacts/notes/readme"}


def test_a_models_analyses_go_with_it_and_those_of_no_model_are_orphans(
    make_job, store_file, load_job
):
    job = load_job(make_job(state="succeeded", finished_at=NEW))
    keys = [analysis_key(job.model_sha256, owner, SHA) for owner in ("", "ann")]
    orphan = analysis_key(OTHER, "", SHA)
    without_owner = f"analyses/{job.model_sha256}/{SHA}"
    for each in (*keys, orphan, without_owner):
        store_file(each)
    assert retention.remove_orphans(get_storage()) == 2
    assert sorted(get_storage().keys("analyses/")) == sorted(keys)
    with transaction() as session:
        session.add(
            OwnedModel(model_sha256=job.model_sha256, owner="", analysis_bytes=1)
        )
        session.get_one(Model, job.model_sha256).used_at = OLD
        session.get_one(Model, job.model_sha256).analysis_bytes = 1
    retention.expire_uploads(get_storage(), DAY)
    assert [*get_storage().keys("analyses/")] == []
    with transaction() as session:
        assert session.get_one(Model, job.model_sha256).analysis_bytes == 0
        assert session.get_one(OwnedModel, (job.model_sha256, "")).analysis_bytes == 0
