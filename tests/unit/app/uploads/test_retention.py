"""Files that are deleted while other jobs need them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from support.service.posting import post, submission

from app.db.models import Job
from app.db.session import transaction
from app.identity import current_owner
from app.storage import get_storage, model_key
from app.uploads.retention import MODELS, SAMPLES, release


@pytest.mark.parametrize(
    ("kind", "column"), [(MODELS, "model_sha256"), (SAMPLES, "samples_sha256")]
)
def test_what_one_owner_deletes_stays_for_another(session, kind, column):
    job = post(session, 6, samples=submission(8).upload)
    job.owner = "bob"
    session.commit()
    seen = current_owner.set("alice")
    try:
        with transaction() as confined:
            assert not release(
                confined, get_storage(), kind, getattr(job, column), None
            )
        assert current_owner.get() == "alice"
    finally:
        current_owner.reset(seen)
    assert get_storage().size(kind.key(getattr(job, column))) == 5


def test_a_model_that_is_being_deleted_is_stored_anew_by_who_uploads_it(each_database):
    """Whoever comes first: where both are done, a job has its model."""

    def let_go(_):
        with transaction() as session:
            release(session, get_storage(), MODELS, f"{3:064}", datetime.now(UTC))

    def upload(_):
        with transaction() as session:
            job = post(session, 3)
            session.flush()
            return job.id

    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            with transaction() as session:
                post(session, 3).state = "cancelled"
            [job_id, _] = [
                call.result()
                for call in (pool.submit(upload, 0), pool.submit(let_go, 0))
            ]
            assert get_storage().size(model_key(f"{3:064}")) == 5
            with transaction() as session:
                job = session.get_one(Job, job_id)
                assert job.model.expired_at is None
                job.state = "cancelled"
