"""The list of jobs, on both databases: pages without gaps, whatever they are chosen by."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from support.service.posting import post

from app.db.models import Job, JobLabel
from app.db.session import transaction
from app.errors import Problem
from app.identity import current_owner
from app.jobs import commands, queries

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def post_at(session, monkeypatch):
    """Post a job at a time of the test's choice."""

    def post_then(moment, number=0, **fields):
        monkeypatch.setattr(commands, "now", lambda _: moment)
        job = post(session, number, **fields)
        session.commit()
        return job

    return post_then


def page(session, limit, cursor=None, **which):
    return queries.page(session, queries.Filter(**which), limit, cursor)


@pytest.mark.parametrize(
    "labels", [{}, {"team": "vision"}, {"team": "vision", "run": "1"}]
)
@pytest.mark.parametrize("limit", [1, pytest.param(3, marks=pytest.mark.slow), 11])
def test_pages_hold_every_job_once_even_of_one_moment_and_while_more_come(
    session, post_at, limit, labels
):
    for number in range(10):
        post_at(
            MOMENT + timedelta(seconds=number // 4),
            number,
            labels={"other": "x"} | labels,
        )
        post_at(
            MOMENT + timedelta(seconds=number // 4), number, labels={"team": "audio"}
        )
    every = session.scalars(select(Job).order_by(Job.created_at.desc(), Job.id.desc()))
    expected = [job.id for job in every if labels.items() <= job.labels.items()]
    seen = []
    cursor = None
    while True:
        jobs, cursor = page(session, limit, cursor, labels=labels)
        seen += [job.id for job in jobs]
        assert len(jobs) <= limit
        if cursor is None:
            break
        post_at(MOMENT + timedelta(days=1), 99, labels=labels)
    assert seen == expected


def test_cursors_of_others_are_refused(session):
    for cursor in (
        "",
        "x",
        "8J-YgA==",
        "MjAyNiAx",
        "OTk5OS0xMi0zMVQyMzo1OTo1OS0yMzo1OSAx",
    ):
        with pytest.raises(Problem) as caught:
            page(session, 1, cursor)
        assert caught.value.members["code"] == "cursor_invalid"


def test_jobs_are_found_by_what_they_are(session, post_at):
    old = post_at(MOMENT - timedelta(days=1), 1, labels={"team": "vision", "run": "1"})
    new = post_at(MOMENT, 2, labels={"team": "audio"})
    old.state = "failed"
    session.commit()
    cases = {
        "failed": (old, {"states": ["failed", "cancelled"]}),
        "queued": (new, {"states": ["queued"]}),
        "model": (old, {"model_sha256": old.model_sha256}),
        "label": (new, {"labels": {"team": "audio"}}),
        "labels": (old, {"labels": {"team": "vision", "run": "1"}}),
        "from": (new, {"created_from": MOMENT}),
        "before": (old, {"created_before": MOMENT}),
        "label from": (new, {"created_from": MOMENT, "labels": {"team": "audio"}}),
        "label before": (old, {"created_before": MOMENT, "labels": {"team": "vision"}}),
        "search": (old, {"search": "team=vision, run=1"}),
    }
    assert {
        name: page(session, 9, **filters)[0] for name, (_, filters) in cases.items()
    } == {name: [job] for name, (job, _) in cases.items()}
    for nothing in (
        {"labels": {"team": "vision", "run": "2"}},
        {"labels": {"vision": "team"}},
        {"states": ["queued"], "labels": {"team": "vision"}},
        {"created_before": MOMENT, "labels": {"team": "audio"}},
    ):
        assert page(session, 9, **nothing)[0] == []
    counted = queries.count(session, queries.Filter(labels={"team": "vision"}))
    assert counted == {
        "queued": 0,
        "running": 0,
        "succeeded": 0,
        "failed": 1,
        "cancelled": 0,
    }


def test_labels_find_no_job_of_another_owner(session, post_at):
    mine, theirs = (post_at(MOMENT, 1, labels={"team": "vision"}) for _ in range(2))
    mine.owner = "ann"
    theirs.owner = "bob"
    session.commit()
    seen = current_owner.set("ann")
    try:
        with transaction() as confined:
            assert [
                job.id for job in page(confined, 9, labels={"team": "vision"})[0]
            ] == [mine.id]
    finally:
        current_owner.reset(seen)


def test_labels_go_with_their_job(session, post_at):
    gone, kept = (
        post_at(MOMENT, 1, labels={"team": "vision", "run": "1"}) for _ in range(2)
    )
    gone.state = "failed"
    session.commit()
    commands.forget(session, str(gone.id))
    session.commit()
    assert session.scalars(select(JobLabel.job_id).distinct()).all() == [kept.id]
    assert session.scalar(select(func.count()).select_from(JobLabel)) == 2
