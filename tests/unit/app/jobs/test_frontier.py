"""The frontier of a report, which may be of another version, too large, changed or gone."""

import hashlib
import json
import uuid

import pytest
from support.service.stored_files import put

from app.db.models import Job
from app.errors import Problem
from app.jobs.frontier import read_frontier
from app.storage import LocalStorage, artifact_key

POINT = {
    "macs": 300,
    "keep": 0.3,
    "latency_keep": None,
    "budget_keep": 0.35,
    "predicted_error": 0.02,
}


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(tmp_path / "storage")


@pytest.fixture
def stored(storage):
    """Store a report, and return its job and its key."""

    def store(report):
        sha256 = hashlib.sha256(report).hexdigest()
        job = Job(id=uuid.uuid4(), report_sha256=sha256)
        key = artifact_key(job.id, sha256)
        put(storage, key, report)
        return job, key

    return store


def refusal(job, storage):
    with pytest.raises(Problem) as caught:
        read_frontier(job, storage)
    return caught.value.members


@pytest.mark.parametrize(
    ("budget", "varied"),
    [
        ({"params_budget": "50%", "allowed": 5}, "params_budget"),
        ({"flops_budget": "0.5", "bytes_budget": "2MB"}, "flops_budget"),
        ({}, "flops_budget"),
    ],
)
def test_the_first_budget_of_the_job_varies(storage, stored, budget, varied):
    report = {"budget": budget, "frontier": [POINT], "sites": []}
    job, _ = stored(json.dumps(report).encode())
    frontier = read_frontier(job, storage)
    assert (frontier.budget, [point.macs for point in frontier.points]) == (
        varied,
        [300],
    )


@pytest.mark.parametrize(
    "report",
    [b"{}", b'{"budget": {}, "frontier": [{}]}', b"x", b" " * 2**22],
    ids=["empty", "other points", "no JSON", "large"],
)
def test_a_report_that_cannot_be_read_is_told_with_the_way_to_it(
    storage, stored, report
):
    job, _ = stored(report)
    problem = refusal(job, storage)
    assert problem["code"] == "report_unreadable"
    assert "/report" in problem["detail"]


def test_a_report_that_changed_in_its_store_is_not_read(storage, stored):
    job, key = stored(json.dumps({"budget": {}, "frontier": [POINT]}).encode())
    path = storage.path(key)
    path.write_bytes(path.read_bytes().replace(b"300", b"301"))
    assert refusal(job, storage)["code"] == "file_damaged"
    path.unlink()
    assert refusal(job, storage)["code"] == "file_gone"
