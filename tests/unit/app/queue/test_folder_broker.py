"""The broker in a folder: messages come whole, once and in their order."""

import subprocess
import sys
import uuid

import pytest
from celery import Celery

from app.queue import celery_client

MESSAGES = 300


SEND = """
import sys; from pathlib import Path; from celery import Celery
from app.queue.celery_client import celery_options; from app.settings import Settings
client = Celery(set_as_current=False)
client.conf.update(celery_options(Settings(data_dir=Path(sys.argv[1]))))
for number in range(int(sys.argv[2])):
    client.send_task("any", [number])
"""


RECEIVE = """
import sys; from pathlib import Path; from celery import Celery
from app.queue.celery_client import celery_options; from app.settings import Settings
client = Celery(set_as_current=False)
client.conf.update(celery_options(Settings(data_dir=Path(sys.argv[1]))))
with client.connection_for_read() as connection:
    waiting = connection.SimpleQueue("convpress")
    count = 0
    while True:
        is_all_sent = Path(sys.argv[1], "all-sent").exists()
        try:
            waiting.get(timeout=0.5).ack()
            count += 1
        except waiting.Empty:
            if is_all_sent:
                break
print(count)
"""


@pytest.mark.slow
def test_folder_messages_come_whole_and_once_among_many_processes(tmp_path):
    def start(code):
        command = [sys.executable, "-c", code, str(tmp_path), str(MESSAGES)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    senders = [start(SEND), start(SEND)]
    receivers = [start(RECEIVE), start(RECEIVE)]
    for process in senders:
        process.communicate(timeout=120)
    (tmp_path / "all-sent").touch()
    outputs = [process.communicate(timeout=120)[0] for process in receivers]
    assert [process.returncode for process in senders + receivers] == [0, 0, 0, 0]
    assert sum(map(int, outputs)) == MESSAGES * len(senders)
    assert not list(tmp_path.rglob("*.msg"))


def test_the_folder_holds_messages_alone_so_that_a_killed_process_leaves_no_half_table(
    settings,
):
    assert celery_client.enqueue(uuid.uuid4())
    files = [
        path for path in (settings.data_dir / "broker").rglob("*") if path.is_file()
    ]
    assert [path.suffix for path in files] == [".msg"]


def test_the_oldest_message_comes_first_and_files_of_others_are_left(settings):
    for number in (1, 2):
        assert celery_client.enqueue(number)
    folder = settings.data_dir / "broker"
    [inbox] = {path.parent for path in folder.rglob("*.msg")}
    other = inbox / "1_x.other.msg"
    other.write_text("no JSON")
    client = Celery(set_as_current=False)
    client.conf.update(celery_client.celery_options(settings))
    with client.connection_for_read() as connection:
        waiting = connection.SimpleQueue("convpress")
        for number in ("1", "2"):
            message = waiting.get(timeout=60)
            assert message.payload[0] == [number]
            message.ack()
        with pytest.raises(waiting.Empty):
            waiting.get(block=False)
    assert [path.name for path in folder.rglob("*.msg")] == [other.name]
