"""Lists in the order of a figure: whole over all pages, and without the jobs that lack it."""

import pytest
from support.service.callers import FORM, HTML

from app.db.session import transaction
from app.errors import Problem
from app.jobs import commands, queries, ranking

# macs_before, macs_after, measured error, risk: the second and third have the same figures
RESULTS = [
    (100, 50, 0.3, "high"),
    (100, 70, 0.1, "low"),
    (100, 70, 0.1, "low"),
    (100, 10, None, "unknown"),
    (0, 0, 0.2, "moderate"),
    (None, None, None, None),
]


@pytest.fixture
def jobs(client):
    ids = [client.post("/jobs", **FORM).json()["id"] for _ in RESULTS]
    with transaction() as session:
        for job_id, (before, after, error, risk) in zip(ids, RESULTS, strict=True):
            job = commands.get(session, job_id)
            job.macs_before, job.macs_after = before, after
            job.measured_error, job.risk_level = error, risk
    return ids


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("figure", "values"),
    [
        ("error", [0.1, 0.1, 0.2, 0.3]),
        ("risk", ["low", "low", "moderate", "high", "unknown"]),
        ("saved", [70, 70, 50, 10]),
    ],
)
def test_pages_have_every_job_with_the_figure_in_order(
    jobs, figure, values, descending
):
    column = {"error": "measured_error", "risk": "risk_level", "saved": "macs_after"}[
        figure
    ]
    shown, cursor, pages = [], None, 0
    while cursor or not pages:
        with transaction() as session:
            page, cursor = ranking.page_by(
                session, queries.Filter(), figure, 2, cursor, descending=descending
            )
        shown += page
        pages += 1
    assert [getattr(job, column) for job in shown] == values[:: -1 if descending else 1]
    assert len({job.id for job in shown}) == len(shown)


def test_a_cursor_of_another_list_is_refused(jobs):
    with transaction() as session:
        _, cursor = queries.page(session, queries.Filter(), 2, None)
        with pytest.raises(Problem) as caught:
            ranking.page_by(session, queries.Filter(), "error", 2, cursor)
    assert caught.value.members["code"] == "cursor_invalid"


def test_the_list_is_sorted_on_its_page(client, jobs):
    page = client.get("/?sort=error&descending=true", headers=HTML).text
    order = [place for place, job in enumerate(jobs) if f'id="job-{job}"' in page]
    assert order == [0, 1, 2, 4]
    assert page.index(f'id="job-{jobs[0]}"') < page.index(f'id="job-{jobs[4]}"')
    assert 'aria-sort="descending"' in page
    assert "Jobs without this figure are left out" in page
