"""A report of any size makes pages of some hundred rows, and one beyond a limit is a download."""

import json
import re
from functools import partial

import pytest
from support.service import fake_engine
from support.service.callers import FORM

from app.dashboard import job_report
from app.dashboard.paging import ROWS
from app.db.session import transaction
from app.jobs import commands
from app.storage import artifact_key, get_storage
from worker.jobs import results

HTML = {"Accept": "text/html"}
SITE = fake_engine.REPORT["sites"][0]
# Longer than a page, and below the largest report that is shown.
NUMBER = 2 * ROWS + 50


@pytest.fixture
def job_with(client):
    """Post a job that has succeeded with a report of some layers; return its JSON."""

    def make(sites):
        job = client.post("/jobs", **FORM).json()
        content = json.dumps(
            fake_engine.REPORT | {"sites": sites}, separators=(",", ":")
        ).encode()
        with transaction() as session:
            row = commands.get(session, job["id"])
            row.state, row.artifact_sha256, row.artifact_bytes = (
                "succeeded",
                "a" * 64,
                50,
            )
            key_of = partial(artifact_key, row.id)
            row.report_sha256, _ = results.keep(get_storage(), iter([content]), key_of)
        return job

    return make


def sites(number):
    return [
        {**SITE, "name": f"layer-{place:05}", "macs_before": place}
        for place in range(number)
    ]


def rows(page):
    return re.findall(r'<tr><th scope="row"><span class="name">(layer-\d+)', page)


def test_a_long_report_is_shown_in_pages(client, job_with):
    path = f"/dashboard/jobs/{job_with(sites(NUMBER))['id']}"
    pages = [
        client.get(f"{path}?page={number}", headers=HTML).text
        for number in (1, 2, 3, 9)
    ]
    names = [f"layer-{place:05}" for place in range(NUMBER)]
    assert [rows(page) for page in pages] == [
        names[:ROWS],
        names[ROWS : 2 * ROWS],
        names[2 * ROWS :],
        names[2 * ROWS :],
    ]
    assert "201 to 400 of 450" in pages[1]
    assert 'rel="next" href="' + path + '?sort=model&amp;page=3#layers"' in pages[1]
    assert 'rel="prev" href="' + path + '?sort=model&amp;page=1#layers"' in pages[1]
    assert 'rel="next"' not in pages[2]
    # two bars a layer
    assert pages[0].count('<rect class="before" x=') == ROWS


def test_an_order_runs_over_all_pages(client, job_with):
    path = f"/dashboard/jobs/{job_with(sites(NUMBER))['id']}?sort=before"
    page = client.get(f"{path}&page=3", headers=HTML).text
    assert rows(page) == [f"layer-{place:05}" for place in reversed(range(50))]


def test_a_comparison_is_shown_in_pages(client, job_with):
    first, second = job_with(sites(NUMBER))["id"], job_with(sites(10))["id"]
    path = f"/dashboard/compare?job={first}&job={second}"
    page = client.get(f"{path}&page=3", headers=HTML).text
    assert rows(page) == [f"layer-{place:05}" for place in range(2 * ROWS, NUMBER)]
    assert f"?job={first}&amp;job={second}&amp;page=2#layers" in page


def test_a_short_report_has_no_pages(client, job_with):
    page = client.get(f"/dashboard/jobs/{job_with(sites(3))['id']}", headers=HTML).text
    assert len(rows(page)) == 3
    assert "page=2" not in page


@pytest.mark.parametrize("number", ["0", "-1", "x", "10000000000"])
def test_a_page_is_a_number_from_one(client, job_with, number):
    job = job_with(sites(3))["id"]
    assert (
        client.get(f"/dashboard/jobs/{job}?page={number}", headers=HTML).status_code
        == 422
    )


def test_a_huge_report_is_a_download(client, job_with, monkeypatch):
    huge = sites(2 * job_report.LARGEST_BYTES // len(json.dumps(SITE)))
    job = job_with(huge)
    monkeypatch.setattr(
        type(get_storage()), "content", lambda *_: pytest.fail("the report was read")
    )
    paths = (
        f"/dashboard/jobs/{job['id']}",
        f"/dashboard/models/{job['model']['sha256']}",
        f"/dashboard/compare?job={job['id']}&job={job['id']}",
    )
    pages = [client.get(path, headers=HTML) for path in paths]
    assert all(page.status_code == 200 and len(page.text) < 100_000 for page in pages)
    assert "too large" in pages[0].text
    assert client.get(f"/jobs/{job['id']}/report").json()["sites"][-1] == huge[-1]


def test_pages_stay_small(client, job_with):
    """Names that are as long as they may be, of characters that a page escapes."""
    long = [{**SITE, "name": f"layer-{place:05}" + '"' * 800} for place in range(1000)]
    page = client.get(f"/dashboard/jobs/{job_with(long)['id']}", headers=HTML).text
    assert len(rows(page)) == ROWS
    assert len(page) < 3_000_000
