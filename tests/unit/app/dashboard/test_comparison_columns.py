"""Columns of jobs: values, order, and text that no spreadsheet runs."""

import csv
import io
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from support.service import fake_engine

from app.dashboard import comparison_columns, job_report
from app.dashboard.comparison_columns import COLUMNS, SummarisedJob
from app.db.models import Job
from convpress.report import Report

START = datetime(2026, 5, 4, tzinfo=UTC)


@pytest.mark.parametrize("descending", [False, True])
def test_jobs_without_a_figure_come_last(descending):
    parsed = Report.model_validate(fake_engine.REPORT)
    rows = [
        SummarisedJob(Job(), None),
        SummarisedJob(Job(), job_report.summary(parsed)._replace(measured=0.2)),
        SummarisedJob(Job(), job_report.summary(parsed)._replace(measured=None)),
        SummarisedJob(Job(), job_report.summary(parsed)._replace(measured=0.1)),
    ]
    ordered = comparison_columns.ordered(
        rows, COLUMNS["measured"], descending=descending
    )
    measured = [row.summary and row.summary.measured for row in ordered]
    assert measured == ([0.2, 0.1] if descending else [0.1, 0.2]) + [None, None]


@pytest.mark.parametrize(
    ("ended", "seconds"), [(None, None), (START + timedelta(seconds=90), 90.0)]
)
def test_a_job_took_the_time_from_its_start_to_its_end(ended, seconds):
    row = SummarisedJob(Job(started_at=START, finished_at=ended), None)
    assert COLUMNS["took"].value(row) == seconds


def test_risks_are_ordered_by_their_levels():
    levels = ["unknown", "high", "low", "moderate"]
    order = sorted(levels, key=COLUMNS["risk"].order)
    assert order == ["low", "moderate", "high", "unknown"]


def test_a_job_without_a_report_has_empty_cells_in_csv():
    job = Job(
        id=uuid.UUID(int=7),
        filename="@net.onnx",
        flops_budget="0.5",
        calibration="none",
        state="queued",
    )
    rows = [SummarisedJob(job, None)]
    text = comparison_columns.as_csv(rows, ["state", "kept", "calibration"])
    assert list(csv.reader(io.StringIO(text))) == [
        ["id", "filename", "budget", "state", "kept", "calibration"],
        [str(job.id), "'@net.onnx", "0.5", "queued", "", "none"],
    ]
