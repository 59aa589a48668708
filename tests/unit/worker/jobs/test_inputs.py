"""The files of a job are put where its child reads them, or the one that is gone is named."""

import hashlib

import pytest
from structlog.testing import capture_logs

from app import data_folder
from app.db.models import Job
from app.db.session import transaction
from app.storage import evaluation_key, get_storage, model_key, samples_key
from worker.jobs import cost_tables
from worker.jobs.inputs import InputGone, fetch_inputs

CONTENT = b"as it was sent"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SAMPLES = {"calibration": "samples", "samples_sha256": SHA256}
EVALUATION = {"evaluation_sha256": SHA256, "evaluation_metric": "top-1"}
KEYS = {
    "samples": (SAMPLES, samples_key(SHA256)),
    "evaluation": (EVALUATION, evaluation_key(SHA256)),
}


@pytest.fixture
def fetch(settings, make_job, tmp_path):
    """Fetch the files of a new job with these columns."""
    data_folder.prepare(settings)
    folder = tmp_path / "input"
    folder.mkdir()

    def run(read_only=True, **columns):
        with transaction() as session:
            job = session.get_one(Job, make_job(**columns))
        return fetch_inputs(job, "onnx", folder, settings, read_only=read_only)

    return run


def test_a_job_without_more_has_a_model_alone(fetch):
    inputs = fetch()
    assert inputs.model.name == "model.onnx"
    assert inputs.model.read_bytes()
    assert (inputs.samples, inputs.evaluation, inputs.analysis) == (None, None, None)


def test_all_files_of_a_job_are_fetched(fetch, store_file):
    for _, key in KEYS.values():
        store_file(key, CONTENT)
    inputs = fetch(**SAMPLES, **EVALUATION)
    assert inputs.samples.read_bytes() == CONTENT
    assert inputs.evaluation.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", KEYS)
def test_a_file_that_the_store_has_lost_is_named(fetch, kind):
    with pytest.raises(InputGone) as gone:
        fetch(**KEYS[kind][0])
    assert gone.value.error["code"] == f"{kind}_gone"
    assert gone.value.error["field"] == kind


@pytest.mark.parametrize("kind", KEYS)
def test_a_file_that_the_disk_has_changed_is_none(fetch, store_file, kind):
    columns, key = KEYS[kind]
    store_file(key, CONTENT[:-1] + b"T")
    with capture_logs() as logs, pytest.raises(InputGone, match="as sent") as gone:
        fetch(**columns)
    assert gone.value.error["code"] == f"{kind}_gone"
    assert logs[-1]["event"] == "a stored file is damaged"


def test_a_model_that_the_store_has_lost_is_named(settings, make_job, tmp_path):
    data_folder.prepare(settings)
    with transaction() as session:
        job = session.get_one(Job, make_job())
    path = get_storage().path(model_key(job.model_sha256))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputGone, match="no longer has the model"):
        fetch_inputs(job, "onnx", tmp_path, settings, read_only=True)
    get_storage().delete(model_key(job.model_sha256))
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(InputGone, match="no longer has the model"):
        fetch_inputs(job, "onnx", tmp_path, settings, read_only=True)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_child_that_could_write_gets_a_copy(fetch, read_only):
    model = fetch(read_only=read_only).model
    [stored] = get_storage().keys("models/")
    is_stored_file = model.samefile(get_storage().path(stored))
    assert not is_stored_file or read_only


def test_an_analysis_is_known_under_the_key_of_the_job_and_its_table(
    fetch, store_file, monkeypatch, tmp_path
):
    first = fetch()
    store_file(first.analysis_key, b"analysis")
    assert fetch().analysis.read_bytes() == b"analysis"
    table = tmp_path / "table.json"
    table.write_text("{}")
    monkeypatch.setattr(cost_tables, "table_of", lambda *_: cost_tables.Table(table))
    priced = fetch()
    assert priced.costs.path.name == "costs.json"
    assert priced.costs.path.read_text() == "{}"
    assert priced.analysis_key != first.analysis_key
    assert priced.analysis is None
