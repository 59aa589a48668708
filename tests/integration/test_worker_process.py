"""Celery workers on files and on servers: whatever is killed or lost, every job ends once.

The children speak like the engine without its work, so that what is tested is the service around
them. `make test` loses a child, a worker and a message, on files or on servers; `make slow` has the
rest. Leases are longer than any test: a busy machine loses none, and a test that is about lost ones
ends them itself.
"""

import signal
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from support.service.running_service import is_dead, wait_for
from support.service.workplace import workplace_in


@pytest.fixture(params=["files", "servers"])
def workplace(request, tmp_path):
    """SQLite and a folder of messages, then PostgreSQL and Redis."""
    names = (
        {"database_url": "migrated_postgres_url", "broker_url": "redis_url"}
        if request.param == "servers"
        else {}
    )
    servers = {
        setting: request.getfixturevalue(fixture) for setting, fixture in names.items()
    }
    with workplace_in(tmp_path, **servers) as place:
        yield place


@pytest.fixture(scope="module", params=["files", "servers"])
def staffed(request, tmp_path_factory):
    """A workplace with one worker, for tests that leave both as they are."""
    with ExitStack() as stack:
        servers = {}
        if request.param == "servers":
            servers["database_url"] = stack.enter_context(
                request.getfixturevalue("postgres_database")(
                    request.getfixturevalue("migrated_postgres")
                )
            )
            servers["broker_url"] = stack.enter_context(
                request.getfixturevalue("redis_database")()
            )
        place = stack.enter_context(
            workplace_in(tmp_path_factory.mktemp("staffed"), **servers)
        )
        place.start()
        yield place
        assert [worker.poll() for worker in place.workers] == [None]


def test_a_job_runs_within_a_second_of_its_ring(staffed):
    def delay():
        job = staffed.wait(staffed.post())
        return (job.started_at - job.created_at).total_seconds()

    # Any one of them, since the machine may be busy: one whose message is lost waits three seconds
    # for the sweeper.
    wait_for(lambda: delay() < 1, "a job that runs at once")


def test_a_job_whose_message_was_lost_is_done_all_the_same(staffed):
    assert (
        staffed.wait(staffed.post(enqueued=False, age=timedelta(minutes=1))).attempt
        == 1
    )


def test_a_killed_child_is_replaced(staffed, tmp_path):
    [worker] = staffed.workers
    job_id = staffed.post(f"once {tmp_path}/mark sleep 600")
    staffed.wait_for_child(worker, job_id).kill()
    assert staffed.wait(job_id).attempt == 2
    assert worker.poll() is None


def test_a_child_that_always_dies_fails_its_job_and_no_worker(staffed):
    [worker] = staffed.workers
    poison = staffed.post("die")
    good = staffed.post()
    assert staffed.wait(poison, "failed").error["code"] == "worker_lost"
    staffed.wait(good)
    assert worker.poll() is None


def test_a_cancelled_job_is_stopped_within_two_seconds_and_the_worker_goes_on(staffed):
    def seconds():
        [worker] = staffed.workers
        job_id = staffed.post("sleep 600")
        next_id = staffed.post()
        child = staffed.wait_for_child(worker, job_id)
        staffed.cancel(job_id)
        began = time.monotonic()
        wait_for(lambda: is_dead(child), "the child to be killed")
        passed = time.monotonic() - began
        staffed.wait(next_id)
        assert staffed.job(job_id).state == "cancelled"
        assert list((staffed.settings.data_dir / "scratch").iterdir()) == []
        return passed

    # one of several suffices, since the machine may be busy
    wait_for(lambda: seconds() < 2, "a job that is stopped in time")


@pytest.mark.slow
def test_jobs_go_to_whoever_is_free_and_each_is_claimed_once(workplace):
    workplace.start()
    workplace.start()
    jobs = [workplace.post() for _ in range(8)]
    assert [workplace.wait(job).attempt for job in jobs] == [1] * 8
    assert sum(workplace.claims(job) for job in jobs) == 8


@pytest.mark.parametrize(
    "workplace",
    ["servers", pytest.param("files", marks=pytest.mark.slow)],
    indirect=True,
)
def test_a_killed_worker_takes_its_child_along_and_another_does_the_job(
    workplace, tmp_path
):
    worker = workplace.start()
    job_id = workplace.post(f"once {tmp_path}/mark sleep 600")
    child = workplace.wait_for_child(worker, job_id)
    worker.kill()
    wait_for(lambda: is_dead(child), "the child to die with its worker")
    workplace.end_lease(job_id)
    workplace.start()
    assert workplace.wait(job_id).attempt == 2
    wait_for(
        lambda: not list((workplace.settings.data_dir / "scratch").iterdir()),
        "the scratch folder to go",
    )


@pytest.mark.slow
def test_workers_that_always_die_fail_the_job_in_the_end(workplace):
    job_id = workplace.post("sleep 600")
    for _ in range(3):
        worker = workplace.start()
        workplace.wait_for_child(worker, job_id)
        worker.kill()
        worker.wait()  # it renews the lease no more
        workplace.end_lease(job_id)
    workplace.start()
    job = workplace.wait(job_id, "failed")
    assert job.error["code"] == "worker_lost"
    assert job.attempt == 3


@pytest.mark.parametrize(
    "workplace",
    ["files", pytest.param("servers", marks=pytest.mark.slow)],
    indirect=True,
)
def test_a_worker_told_to_end_gives_its_job_back_and_ends(workplace, tmp_path):
    worker = workplace.start()
    job_id = workplace.post(f"once {tmp_path}/mark sleep 600")
    next_id = workplace.post()
    child = workplace.wait_for_child(worker, job_id)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(120) == 0
    assert is_dead(child)
    job = workplace.job(job_id)
    assert job.state == "queued"
    assert job.attempt == 0
    # the message was received, so the sweeper must send another
    workplace.change(job_id, created_at=job.created_at - timedelta(minutes=1))
    workplace.start()
    assert workplace.wait(job_id).attempt == 1
    assert workplace.wait(next_id).attempt == 1


@pytest.mark.slow
def test_a_worker_frozen_past_its_lease_commits_nothing_when_it_goes_on(
    workplace, tmp_path
):
    frozen = workplace.start()
    job_id = workplace.post(f"once {tmp_path}/mark sleep 600")
    child = workplace.wait_for_child(frozen, job_id)
    workplace.freeze(frozen)
    workplace.end_lease(job_id)
    workplace.start()
    ended = workplace.wait(job_id)
    frozen.send_signal(signal.SIGCONT)
    wait_for(lambda: is_dead(child), "the child of the lost lease to be stopped")
    wait_for(
        lambda: '"lease lost"' in workplace.log.read_text(),
        "the worker to see that its lease is lost",
    )
    job = workplace.job(job_id)
    assert job.state == "succeeded"
    assert job.attempt == 2
    assert job.finished_at == ended.finished_at
    assert frozen.poll() is None


@pytest.mark.slow
def test_a_broker_without_memory_ends_neither_the_worker_nor_its_sweeper(
    tmp_path, redis_of_its_own
):
    url, client = redis_of_its_own
    with workplace_in(tmp_path, broker_url=url) as workplace:
        worker = workplace.start()
        client.config_set("maxmemory", "1")
        wait_for(
            lambda: '"OutOfMemoryError"' in workplace.log.read_text(),
            "an error of Redis",
        )
        left = workplace.post(enqueued=False, age=timedelta(minutes=1))
        workplace.change(
            left,
            state="running",
            lease_owner="dead",
            lease_expires_at=datetime.now(UTC) - timedelta(seconds=1),
        )
        workplace.wait(left, "queued")
        assert worker.poll() is None
        client.config_set("maxmemory", "0")
        workplace.wait(left)


def test_a_data_folder_that_is_away_for_a_while_costs_no_job(tmp_path):
    with workplace_in(tmp_path) as workplace:
        folder = workplace.settings.data_dir
        worker = workplace.start()
        job_id = workplace.post(enqueued=False)
        folder.rename(tmp_path / "away")
        wait_for(
            lambda: '"DataFolderGone"' in workplace.log.read_text(), "a failed sweep"
        )
        assert not folder.exists()
        (tmp_path / "away").rename(folder)
        workplace.change(job_id, created_at=datetime.now(UTC) - timedelta(minutes=1))
        assert workplace.wait(job_id).attempt == 1
        assert worker.poll() is None
