"""The doorbell: both ends agree, messages come whole and once, and a dead broker holds nobody up."""

import multiprocessing
import socket
import time
import uuid
from pathlib import Path

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from app import queue
from app.settings import Settings


def connect(settings):
    client = Celery(set_as_current=False)
    client.conf.update(queue.celery_options(settings))
    return client.connection_for_read()


def take(connection):
    """The arguments of the next message."""
    waiting = connection.SimpleQueue("convpress")
    message = waiting.get(timeout=5)
    message.ack()
    waiting.close()
    return message.headers["task"], message.payload[0]


@pytest.mark.parametrize("broker", ["folder", "redis"])
def test_a_ring_reaches_the_other_end(request, configure, broker):
    settings = configure(**({"broker_url": request.getfixturevalue("redis_url")} if broker == "redis" else {}))
    job_id = uuid.uuid4()
    assert queue.ring(job_id)
    with connect(settings) as connection:
        assert take(connection) == ("convpress.compress", [str(job_id)])
        if broker == "folder":
            assert not list((settings.data_dir / "broker").rglob("*.msg"))


def test_a_broker_that_is_down_costs_a_warning(configure):
    configure(broker_url="redis://127.0.0.1:1/0")
    started = time.monotonic()
    assert not queue.ring(uuid.uuid4())
    assert time.monotonic() - started < 2
    with pytest.raises(OperationalError):
        queue.check_broker()


def test_a_broker_that_hangs_costs_seconds(configure):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        configure(broker_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        assert not queue.ring(uuid.uuid4())
        assert time.monotonic() - started < 5


def test_a_message_is_not_given_to_a_second_worker_while_a_job_may_still_run():
    settings = Settings(broker_url="redis://localhost/0", job_timeout_seconds=1000)
    options = queue.celery_options(settings)["broker_transport_options"]
    assert options["visibility_timeout"] >= 2 * settings.job_timeout_seconds


MESSAGES, SENDERS = 300, 2


def send(folder):
    client = Celery(set_as_current=False)
    client.conf.update(queue.celery_options(Settings(data_dir=folder)))
    for number in range(MESSAGES):
        client.send_task("any", [number])


def receive(folder, counted):
    with connect(Settings(data_dir=folder)) as connection:
        waiting = connection.SimpleQueue("convpress")
        while True:
            try:
                waiting.get(timeout=1).ack()
            except waiting.Empty:
                return
            with counted.get_lock():
                counted.value += 1


def test_folder_messages_come_whole_and_once_among_many_processes(tmp_path):
    context = multiprocessing.get_context("spawn")
    counted = context.Value("i", 0)
    processes = [context.Process(target=send, args=(tmp_path,)) for _ in range(SENDERS)]
    processes += [context.Process(target=receive, args=(tmp_path, counted)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert counted.value == MESSAGES * SENDERS
    assert not list(Path(tmp_path).rglob("*.msg"))
