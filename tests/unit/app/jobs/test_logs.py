"""A job's log has its events and its children's lines, in order, printable and bounded."""

import re

from support.service.posting import post

from app.db.session import now
from app.jobs import logs
from app.jobs.transitions import Changed, record


def happen(session, job, state, detail, attempt):
    record(
        session,
        now(session),
        state,
        detail,
        [Changed(job.id, attempt, None, "host:1:abc")],
    )


def test_lines_of_each_attempt_stand_before_the_event_that_ended_it(session):
    job = post(session)
    happen(session, job, "running", "claimed by a worker", 1)
    logs.keep(session, job.id, 1, "first\nattempt\n")
    happen(session, job, "queued", "it was killed", 1)
    happen(session, job, "running", "claimed by a worker", 2)
    logs.keep(session, job.id, 2, "second")
    happen(session, job, "succeeded", "done", 2)
    lines = logs.read(session, job).splitlines()
    timeless = [re.sub(r"^2\S+Z ", "", line) for line in lines]
    assert timeless == [
        "queued: accepted",
        "running: claimed by a worker, attempt 1",
        "  attempt 1 wrote:",
        "  | first",
        "  | attempt",
        "queued: it was killed",
        "running: claimed by a worker, attempt 2",
        "  attempt 2 wrote:",
        "  | second",
        "succeeded: done",
    ]


def test_what_a_child_wrote_cannot_act_on_a_terminal_or_fill_the_database(session):
    job = post(session)
    happen(session, job, "running", "claimed by a worker", 1)
    coloured = "\x1b[0;93ma warning\x1b[m"
    logs.keep(
        session, job.id, 1, f"{'a' * 99_999}{coloured}\x1b]0;title\x07\x00the end"
    )
    happen(session, job, "failed", "model_invalid", 1)
    text = logs.read(session, job)
    assert "?]0;title??the end" in text
    assert len(text) < logs.LONGEST_TEXT + 1000
    assert "\x1b" not in text
    assert "aa warning?]0;title??the end" in text


def test_the_same_attempt_again_replaces_its_lines_and_silence_keeps_none(session):
    job = post(session)
    happen(session, job, "running", "claimed by a worker", 1)
    logs.keep(session, job.id, 1, "old")
    logs.keep(session, job.id, 1, "new")
    logs.keep(session, job.id, 2, " \n")
    happen(session, job, "succeeded", "done", 1)
    text = logs.read(session, job)
    assert "old" not in text
    assert "| new" in text
    assert "attempt 2 wrote" not in text


def test_only_the_last_events_are_shown(session):
    job = post(session)
    for number in range(300):
        happen(session, job, "queued", f"shut down {number}", 0)
    lines = logs.read(session, job).splitlines()
    assert len(lines) == 200
    assert lines[-1].endswith("shut down 299")
