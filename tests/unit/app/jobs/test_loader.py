"""Many who ask at once are answered by few looks, each with what was true after the question."""

import asyncio
from uuid import UUID

import anyio
import pytest

from app.db.models import Job, Model
from app.db.session import transaction
from app.errors import Problem
from app.jobs import commands, loader
from app.jobs.loader import JobLoader


@pytest.fixture
def job_ids(each_database):
    with transaction() as session:
        at = commands.now(session)
        session.add(
            Model(sha256="a" * 64, format="onnx", bytes=3, created_at=at, used_at=at)
        )
        session.flush()
        jobs = [
            Job(created_at=at, model_sha256="a" * 64, filename="n", flops_budget="0.5")
            for _ in range(5)
        ]
        session.add_all(jobs)
        session.flush()
        return [str(job.id) for job in jobs]


def test_a_crowd_is_answered_by_few_looks(job_ids, monkeypatch):
    queries = []
    load_jobs = loader.load_jobs

    def count(job_ids):
        queries.append(len(job_ids))
        return load_jobs(job_ids)

    monkeypatch.setattr(loader, "load_jobs", count)

    async def run():
        jobs = JobLoader()
        return await asyncio.gather(
            *(jobs.load(job_ids[number % 5]) for number in range(100))
        )

    seen = anyio.run(run)
    assert [str(job.id) for job in seen] == job_ids * 20
    assert seen[0].state == "queued"
    assert seen[0].model.format == "onnx"
    assert seen[0].labels == {}
    assert len(queries) <= 3


def test_an_answer_is_not_older_than_its_question(job_ids):
    async def run():
        jobs = JobLoader()
        first = asyncio.create_task(jobs.load(job_ids[0]))
        await asyncio.sleep(0)
        with transaction() as session:
            commands.cancel(session, job_ids[0])
        later = await jobs.load(job_ids[0])
        await first
        return later.state

    assert anyio.run(run) == "cancelled"


def test_who_goes_away_takes_nobodys_answer_along(job_ids):
    async def run():
        jobs = JobLoader()
        gone = asyncio.create_task(jobs.load(job_ids[0]))
        stays = asyncio.create_task(jobs.load(job_ids[0]))
        await asyncio.sleep(0)
        gone.cancel()
        return (await stays).state

    assert anyio.run(run) == "queued"


@pytest.mark.parametrize("job_id", ["7", "", str(UUID(int=7))])
def test_an_unknown_job(job_ids, job_id):
    with pytest.raises(Problem, match="no job"):
        anyio.run(JobLoader().load, job_id)


def test_a_database_that_is_away_is_told_to_all(job_ids, monkeypatch):
    def fail(_):
        raise OSError("away")

    monkeypatch.setattr(loader, "load_jobs", fail)

    async def run():
        jobs = JobLoader()
        return await asyncio.gather(
            *(jobs.load(job_ids[0]) for _ in range(3)), return_exceptions=True
        )

    assert [str(error) for error in anyio.run(run)] == ["away"] * 3
