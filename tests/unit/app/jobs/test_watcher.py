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


def test_in_a_crowd_there_is_no_place_for_another_follower(monkeypatch):
    monkeypatch.setattr(watcher, "_MOST_FOLLOWERS", 2)
    monkeypatch.setattr(watcher, "load_statuses", lambda _: {})

    async def follow():
        watch = JobWatcher()
        job = uuid.uuid4()
        async with watch.follow(job):
            assert not watch.is_full
            async with watch.follow(job):
                assert watch.is_full
        return watch.is_full

    assert not anyio.run(follow)
