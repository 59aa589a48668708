"""The Celery client of the API: it notifies workers of queued jobs.

SQL is the truth: a lost message delays a job by seconds and never loses it.
"""

import uuid
from functools import cache
from typing import Any

import structlog
from celery import Celery
from kombu.exceptions import ChannelError

from app import data_folder, loops
from app.settings import Settings, get_settings

QUEUE = "convpress"
TASK = "convpress.compress"
"""The task's name; its one argument is the job's id as text."""

_PROBE_QUEUE = "convpress.probe"
_CONNECT_SECONDS = 2.0
# Longer than the second for which a worker waits for a message, or each wait would time out.
_REPLY_SECONDS = 3.0

log = structlog.get_logger(__name__)


def celery_options(settings: Settings) -> dict[str, Any]:
    """Return Celery's options for both ends of the queue; create the embedded broker's folders."""
    return {
        **_broker_options(settings),
        "broker_connection_timeout": _CONNECT_SECONDS,
        # Redis answers with errors of this kind while it is out of memory: they would end a worker.
        "broker_channel_error_retry": True,
        "result_backend": None,
        "task_ignore_result": True,
        "task_default_queue": QUEUE,
        "task_serializer": "json",
        "accept_content": ["json"],
        # A message is acknowledged after its job, so a worker that dies leaves it to others.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_publish_retry_policy": {
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0,
            "interval_max": 0,
        },
        "worker_prefetch_multiplier": 1,
    }


def _broker_options(settings: Settings) -> dict[str, Any]:
    if settings.broker_url is None:
        return _folder_options(settings)
    return _redis_options(settings, settings.broker_url)


def _folder_options(settings: Settings) -> dict[str, Any]:
    root = settings.data_dir.absolute() / "broker"
    folders = {
        "data_folder_in": root / "queue",
        "data_folder_out": root / "queue",
        "processed_folder": root / "passing",
    }
    data_folder.prepare(settings)
    # Not the parents: a data folder that was deleted does not come back empty.
    for folder in (root, *folders.values()):
        folder.mkdir(exist_ok=True)
    paths = {name: str(folder) for name, folder in folders.items()}
    return {
        "broker_url": "filesystem://localhost",
        "broker_transport": "app.queue.folder_broker:Transport",
        "broker_transport_options": {**paths, "polling_interval": 0.05},
    }


def _redis_options(settings: Settings, url: str) -> dict[str, Any]:
    return {
        "broker_url": url,
        "broker_transport_options": {
            # Redis hands an unacknowledged message to another worker after this time. The lease in
            # SQL would keep the job from running twice, but the second worker would be busy.
            "visibility_timeout": int(
                2 * settings.job_timeout_seconds + settings.lease_seconds
            ),
            # The interval between searches for unacknowledged messages; the default is 100 seconds.
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": _CONNECT_SECONDS,
            "socket_timeout": _REPLY_SECONDS,
            "max_retries": 1,
            "interval_start": 0,
        },
    }


def enqueue(job_id: uuid.UUID) -> bool:
    """Send the message of a queued job, and return whether the broker took the message.

    Call it after the job's row is committed. While the broker is down, the sweeper repeats the
    message for every job that no worker holds.
    """
    try:
        _client(get_settings()).send_task(TASK, [str(job_id)])
    # Any exception: the job is committed already, and libraries raise many, such as redis's own
    # where its server is out of memory.
    except Exception as error:
        log.warning(
            "the broker took no message; the sweeper will send it again",
            job_id=str(job_id),
        )
        loops.note_failure("messages", error)
        return False
    return True


def backlog() -> int | None:
    """Return the number of messages that wait at the broker, or None if it does not answer."""
    try:
        with _client(get_settings()).connection_for_read() as connection:
            declared = connection.default_channel.queue_declare(QUEUE, passive=True)
            return int(declared.message_count)
    except ChannelError:
        return 0  # an empty queue does not exist
    except Exception as error:
        log.warning("the broker does not answer")
        loops.note_failure("messages", error)
        return None


def check_broker() -> None:
    """Send a message to a queue that nobody reads, and remove it.

    A broker that is out of memory, or may only be read, answers and takes no message.

    Raises:
        Exception: the broker does not answer, or takes no message; libraries raise many kinds.
    """
    with _client(get_settings()).connection_for_write() as connection:
        connection.ensure_connection(
            max_retries=1, interval_start=0, timeout=_REPLY_SECONDS
        )
        channel = connection.default_channel
        try:
            channel.basic_publish(channel.prepare_message("?"), "", _PROBE_QUEUE)
        finally:
            channel.queue_purge(_PROBE_QUEUE)


@cache
def _client(settings: Settings) -> Celery:
    client = Celery("convpress", set_as_current=False)
    client.conf.update(celery_options(settings))
    return client
