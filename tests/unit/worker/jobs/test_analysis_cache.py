"""The analysis of a model is kept for later jobs, within its limit of bytes, and fails no job."""

import errno

import pytest
from sqlalchemy.exc import OperationalError

from app.db.models import Model, OwnedModel
from app.db.session import transaction
from app.settings import get_settings
from app.storage import LocalStorage, get_storage
from worker.jobs import analysis_cache, cost_tables

pytestmark = pytest.mark.usefixtures("engine_without_work")


@pytest.fixture(autouse=True)
def no_cost_table(monkeypatch):
    """Whatever the host is, jobs have no cost table."""
    monkeypatch.setattr(cost_tables, "host_target", lambda: None)


def stored_analyses():
    return {
        key: get_storage().path(key).read_text()
        for key in get_storage().keys("analyses/")
    }


def test_a_second_job_is_given_what_the_first_has_learned(make_job, work):
    job = work(make_job(input_shape="learn one"))
    [(key, content)] = stored_analyses().items()
    assert job.state == "succeeded"
    assert key == analysis_cache.key_of(job)
    assert content == "one"
    with transaction() as session:
        assert session.get_one(Model, job.model_sha256).analysis_bytes == 3
    again = work(make_job(input_shape="learn one", flops_budget="0.3"))
    assert again.state == "succeeded"
    assert stored_analyses() == {key: "oneone"}


def test_of_a_model_the_latest_settings_are_kept(make_job, work):
    work(make_job(input_shape="learn one"))
    job = work(make_job(input_shape="learn one", calibration="none"))
    assert stored_analyses() == {analysis_cache.key_of(job): "one"}
    other = work(
        make_job(input_shape="learn two", content=bytes([0x08, 0x09, 0x3A, 0x00]))
    )
    assert stored_analyses() == {
        analysis_cache.key_of(job): "one",
        analysis_cache.key_of(other): "two",
    }


@pytest.mark.parametrize(
    "columns",
    [
        {"input_shape": "1"},
        {"calibration": "none"},
        {"samples_sha256": "b" * 64},
        {"input_range": "0,1"},
        {"input_mean": "0"},
        {"input_std": "1"},
        {"model_sha256": "b" * 64},
    ],
)
def test_what_changes_an_analysis_changes_its_place(make_job, load_job, columns):
    job = load_job(make_job())
    before = analysis_cache.key_of(job)
    job.flops_budget = "0.1"
    assert analysis_cache.key_of(job) == before
    for name, value in columns.items():
        setattr(job, name, value)
    assert analysis_cache.key_of(job) != before


def test_other_photographs_of_the_operator_change_the_place(
    make_job, load_job, tmp_path
):
    job = load_job(make_job())
    without = analysis_cache.key_of(job)
    empty = analysis_cache.key_of(job, photographs=tmp_path)
    (tmp_path / "tree.jpg").write_bytes(b"one")
    one = analysis_cache.key_of(job, photographs=tmp_path)
    (tmp_path / "tree.jpg").write_bytes(b"another")
    other = analysis_cache.key_of(job, photographs=tmp_path)
    missing = analysis_cache.key_of(job, photographs=tmp_path / "missing")
    assert len({without, empty, one, other, missing}) == 5


def test_another_engine_reads_none_of_this_one(make_job, load_job, monkeypatch):
    job = load_job(make_job())
    before = analysis_cache.key_of(job)
    monkeypatch.setattr(analysis_cache, "_engine_version", lambda: "another")
    assert analysis_cache.key_of(job) != before


def test_none_is_kept_where_none_is_wanted(make_job, work, settings, monkeypatch):
    monkeypatch.setenv("CONVPRESS_ANALYSIS_BYTES", "0")
    get_settings.cache_clear()
    assert work(make_job(input_shape="learn one")).state == "succeeded"
    assert stored_analyses() == {}


def fill(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def be_away(*_):
    raise OperationalError("UPDATE", {}, ConnectionError("away"))


@pytest.mark.parametrize(
    ("what", "fails"), [("delete_analyses", fill), ("set_analysis_bytes", be_away)]
)
def test_one_that_cannot_be_kept_costs_nothing(
    make_job, work, monkeypatch, what, fails
):
    monkeypatch.setattr(analysis_cache, what, fails)
    assert work(make_job(input_shape="learn one")).state == "succeeded"
    assert stored_analyses() == {}


def test_none_is_kept_that_leaves_no_room_for_uploads_or_is_larger_than_it_may_be(
    make_job, work, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "free_bytes", lambda _: 1024**3)
        assert work(make_job(input_shape="learn one")).state == "succeeded"
    assert stored_analyses() == {}
    monkeypatch.setattr(analysis_cache, "_HEADER_BYTES", -(1024**3) + 2)
    assert work(make_job(input_shape="learn one")).state == "succeeded"
    assert stored_analyses() == {}


def test_an_owner_is_not_given_the_analysis_of_another(make_job, work):
    """Whether it was there would tell that another has uploaded the same model."""
    first = work(make_job(input_shape="learn one", owner="ann"))
    work(make_job(input_shape="learn one", owner="bob"))
    key = analysis_cache.key_of(first)
    assert sorted(stored_analyses().values()) == ["one", "one"]
    again = work(make_job(input_shape="learn one", owner="ann", flops_budget="0.3"))
    assert stored_analyses()[key] == "oneone"
    with transaction() as session:
        owned = {
            owner: session.get_one(
                OwnedModel, (again.model_sha256, owner)
            ).analysis_bytes
            for owner in ("ann", "bob")
        }
        assert owned == {"ann": 6, "bob": 3}
        assert session.get_one(Model, again.model_sha256).analysis_bytes == 9
