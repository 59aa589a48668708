"""Followers are woken although a poll has failed by whatever exception."""

import uuid

import anyio

from app.jobs import watcher
from app.jobs.watcher import JobWatcher


def test_no_exception_ends_the_poll(monkeypatch):
    polls = []

    def load(job_ids):
        polls.append(job_ids)
        if len(polls) < 3:
            raise RuntimeError("of a library")
        return {}

    monkeypatch.setattr(watcher, "load_statuses", load)
    monkeypatch.setattr(watcher, "_POLL_SECONDS", 0.01)

    async def follow():
        with anyio.fail_after(100):
            async with JobWatcher().follow(uuid.uuid4()) as changed:
                await changed.wait()

    anyio.run(follow)
    assert len(polls) == 3
