"""The inspection that a child writes is kept with its model if it is valid, and fails no job."""

import json

import pytest
from sqlalchemy.exc import OperationalError

from app.db.models import Model
from app.db.session import transaction
from app.jobs.presentation import present_model
from worker.jobs import inspections

pytestmark = pytest.mark.usefixtures("engine_without_work")

SITE = {
    "name": "c",
    "op": "Conv",
    "weight_shape": [1, 1, 3, 3],
    "macs": 9,
    "calls": 1,
    "courses": None,
    "reason": None,
}
INSPECTION = {
    "account_complete": True,
    "unaccounted": [],
    "restored": None,
    "sized_by_values": None,
    "format": "onnx",
    "inputs": [{"name": "x", "dtype": "float32", "shape": "1x1x3x3"}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": None}],
    "parameters": 9,
    "bytes": 50,
    "macs": 9,
    "courses": [9],
    "sites": [SITE],
    "uncounted": {"Relu": 1},
    "missing": None,
}


def stored_inspection(job):
    with transaction() as session:
        inspection = present_model(
            session, session.get_one(Model, job.model_sha256)
        ).inspection
    return None if inspection is None else inspection.model_dump()


def test_a_model_tells_what_the_last_job_saw(make_job, work):
    assert stored_inspection(work(make_job())) is None
    assert (
        stored_inspection(work(make_job(input_shape="tell " + json.dumps(INSPECTION))))
        == INSPECTION
    )
    assert stored_inspection(work(make_job())) == INSPECTION
    later = {**INSPECTION, "macs": None, "missing": "a shape"}
    assert (
        stored_inspection(work(make_job(input_shape="tell " + json.dumps(later))))
        == later
    )


@pytest.mark.parametrize(
    "lie",
    [
        "",
        "[]",
        "{}",
        "NaN",
        json.dumps({**INSPECTION, "macs": -1}),
        json.dumps({**INSPECTION, "macs": "9"}),
        "[" * 100_000,
    ],
    ids=["nothing", "list", "empty", "nan", "negative", "text", "deep"],
)
def test_what_is_no_inspection_is_not_kept(make_job, work, lie):
    job = work(make_job(input_shape=f"tell {lie}"))
    assert job.state == "succeeded"
    assert stored_inspection(job) is None


def test_one_that_cannot_be_kept_costs_nothing(make_job, work, monkeypatch):
    def be_away(*_):
        raise OperationalError("UPDATE", {}, ConnectionError("away"))

    behaviour = "tell " + json.dumps(INSPECTION)
    with monkeypatch.context() as patch:
        patch.setattr(inspections, "set_inspection", be_away)
        job = work(make_job(input_shape=behaviour))
    assert job.state == "succeeded"
    assert stored_inspection(job) is None
    monkeypatch.setattr(inspections, "LARGEST_BYTES", 10)
    job = work(make_job(input_shape=behaviour))
    assert job.state == "succeeded"
    assert stored_inspection(job) is None
