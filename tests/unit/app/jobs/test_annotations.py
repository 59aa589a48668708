"""Labels and notes are replaced whole, checked as those of a new job, and found afterwards."""

import pytest
from sqlalchemy import select
from support.service.posting import post

from app.db.models import JobLabel
from app.errors import Problem
from app.jobs import queries
from app.jobs.annotations import annotate
from convpress.refusal import Refusal


def names_of(session, **labels):
    jobs, _ = queries.page(session, queries.Filter(labels=labels), 9, None)
    return [job.id for job in jobs]


def test_new_labels_replace_the_old_ones_and_are_found(session):
    job = post(session, labels={"team": "vision", "run": "1"})
    annotate(session, str(job.id), labels={"team": "audio"}, note=None)
    assert job.labels == {"team": "audio"}
    assert names_of(session, team="audio") == [job.id]
    assert names_of(session, run="1") == []
    [row] = session.scalars(select(JobLabel).where(JobLabel.job_id == job.id))
    assert row.created_at == job.created_at  # lists are sorted by it


def test_what_is_left_out_stays_and_an_empty_note_goes(session):
    job = post(session, labels={"run": "1"})
    annotate(session, str(job.id), labels=None, note="line one\r\nline two")
    assert (job.labels, job.note) == ({"run": "1"}, "line one\nline two")
    annotate(session, str(job.id), labels={}, note=None)
    assert (job.labels, job.note) == ({}, "line one\nline two")
    annotate(session, str(job.id), labels=None, note=" ")
    assert job.note is None


@pytest.mark.parametrize(
    "labels",
    [
        {"a b": "c"},
        {"a": "x,b=y"},
        {"a": "\x1b"},
        {"a": "v" * 129},
        {f"n{n}": "" for n in range(17)},
    ],
)
def test_labels_that_a_form_could_not_send_are_refused(session, labels):
    job = post(session, labels={"run": "1"})
    with pytest.raises(Refusal) as refused:
        annotate(session, str(job.id), labels=labels, note=None)
    assert refused.value.code == "labels_invalid"
    assert job.labels == {"run": "1"}


@pytest.mark.parametrize("note", ["bell \x07", "\x00", "\ud800", "x" * 2001])
def test_a_note_that_is_no_text_is_refused(session, note):
    job = post(session)
    with pytest.raises(Problem) as refused:
        annotate(session, str(job.id), labels=None, note=note)
    assert refused.value.members["code"] == "note_invalid"


def test_an_unexpected_job_is_left_as_it_is(session):
    job = post(session)
    with pytest.raises(Problem) as refused:
        annotate(
            session, str(job.id), labels={}, note="mine", is_expected=lambda _: False
        )
    assert refused.value.members["code"] == "job_changed"
    assert job.note is None
