"""Both ends of the queue agree, messages come whole and once, and a dead broker blocks nobody."""

import shutil
import socket
import time
import uuid

import pytest
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from app.queue import celery_client
from app.settings import Settings


def connect(settings):
    client = Celery(set_as_current=False)
    client.conf.update(celery_client.celery_options(settings))
    return client.connection_for_read()


def take(connection):
    """The arguments of the next message."""
    waiting = connection.SimpleQueue("convpress")
    message = waiting.get(timeout=60)
    message.ack()
    waiting.close()
    return message.headers["task"], message.payload[0]


@pytest.mark.parametrize("broker", ["folder", "redis"])
def test_a_ring_reaches_the_other_end(request, configure, broker):
    settings = configure(
        **(
            {"broker_url": request.getfixturevalue("redis_url")}
            if broker == "redis"
            else {}
        )
    )
    job_id = uuid.uuid4()
    assert celery_client.enqueue(job_id)
    with connect(settings) as connection:
        assert take(connection) == ("convpress.compress", [str(job_id)])
        if broker == "folder":
            assert not list((settings.data_dir / "broker").rglob("*.msg"))


def test_a_broker_that_is_down_costs_a_warning(configure):
    configure(broker_url="redis://127.0.0.1:1/0")
    started = time.monotonic()
    assert not celery_client.enqueue(uuid.uuid4())
    assert time.monotonic() - started < 60
    with pytest.raises(OperationalError):
        celery_client.check_broker()


def test_a_broker_without_memory_is_unready_and_costs_a_warning(
    configure, redis_of_its_own
):
    url, client = redis_of_its_own
    configure(broker_url=url)
    celery_client.check_broker()
    client.config_set("maxmemory", "1")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        celery_client.check_broker()
    assert celery_client.backlog() is None
    assert not celery_client.enqueue(uuid.uuid4())
    client.config_set("maxmemory", "0")
    celery_client.check_broker()
    assert celery_client.backlog() == 0
    assert celery_client.enqueue(uuid.uuid4())
    assert celery_client.backlog() == 1


def test_a_broker_in_a_folder_that_is_gone_is_unready(configure):
    settings = configure()
    celery_client.check_broker()
    assert not list((settings.data_dir / "broker").rglob("*.msg"))
    shutil.rmtree(settings.data_dir / "broker")
    with pytest.raises(OSError, match="No such file"):
        celery_client.check_broker()


def test_a_broker_that_hangs_costs_seconds(configure, monkeypatch):
    monkeypatch.setattr(celery_client, "_REPLY_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        configure(broker_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        assert not celery_client.enqueue(uuid.uuid4())
        assert time.monotonic() - started < 60


def test_a_message_is_not_given_to_a_second_worker_while_a_job_may_still_run():
    settings = Settings(broker_url="redis://localhost/0", job_timeout_seconds=1000)
    options = celery_client.celery_options(settings)["broker_transport_options"]
    assert options["visibility_timeout"] >= 2 * settings.job_timeout_seconds


@pytest.mark.parametrize("broker", ["folder", "redis"])
def test_the_backlog_is_what_waits_at_the_broker(configure, request, broker):
    configure(
        **(
            {"broker_url": request.getfixturevalue("redis_url")}
            if broker == "redis"
            else {}
        )
    )
    assert celery_client.backlog() == 0
    for waiting in (1, 2):
        celery_client.enqueue(uuid.uuid4())
        assert celery_client.backlog() == waiting


def test_the_backlog_of_a_broker_that_is_down_is_unknown(configure):
    configure(broker_url="redis://127.0.0.1:1/0")
    assert celery_client.backlog() is None
