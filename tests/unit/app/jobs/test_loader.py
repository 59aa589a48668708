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
def made(each_database):
    with transaction() as session:
        at = commands.now(session)
        session.add(Model(sha256="a" * 64, format="onnx", bytes=3, created_at=at, used_at=at))
        session.flush()
        made = [
            Job(created_at=at, model_sha256="a" * 64, filename="n", flops_budget="0.5")
            for _ in range(5)
        ]
        session.add_all(made)
        session.flush()
        return [str(job.id) for job in made]


def test_a_crowd_is_answered_by_few_looks(made, monkeypatch):
    looks, see = [], loader.load_jobs

    def count(job_ids):
        looks.append(len(job_ids))
        return see(job_ids)

    monkeypatch.setattr(loader, "load_jobs", count)

    async def run():
        eye = JobLoader()
        return await asyncio.gather(*(eye.load(made[number % 5]) for number in range(100)))

    seen = anyio.run(run)
    assert [str(job.id) for job in seen] == made * 20
    assert (seen[0].state, seen[0].model.format, seen[0].labels) == ("queued", "onnx", {})
    assert len(looks) <= 3


def test_an_answer_is_not_older_than_its_question(made):
    async def run():
        eye = JobLoader()
        first = asyncio.create_task(eye.load(made[0]))
        await asyncio.sleep(0)
        with transaction() as session:
            commands.cancel(session, made[0])
        later = await eye.load(made[0])
        await first
        return later.state

    assert anyio.run(run) == "cancelled"


def test_who_goes_away_takes_nobodys_answer_along(made):
    async def run():
        eye = JobLoader()
        gone, stays = asyncio.create_task(eye.load(made[0])), asyncio.create_task(eye.load(made[0]))
        await asyncio.sleep(0)
        gone.cancel()
        return (await stays).state

    assert anyio.run(run) == "queued"


@pytest.mark.parametrize("job_id", ["7", "", str(UUID(int=7))])
def test_an_unknown_job(made, job_id):
    with pytest.raises(Problem, match="no job"):
        anyio.run(JobLoader().load, job_id)


def test_a_database_that_is_away_is_told_to_all(made, monkeypatch):
    def fail(_):
        raise OSError("away")

    monkeypatch.setattr(loader, "load_jobs", fail)

    async def run():
        eye = JobLoader()
        return await asyncio.gather(*(eye.load(made[0]) for _ in range(3)), return_exceptions=True)

    assert [str(error) for error in anyio.run(run)] == ["away"] * 3
