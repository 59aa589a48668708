"""The embedded broker: kombu's folder of message files, with whole messages that are taken once.

Kombu's own channel creates a file and then fills it. A reader that polls often meets empty files
and fails, and a process killed in between leaves a table of exchanges that cannot be read again.
Messages that were read pile up, or pass through the machine's temporary folder.
"""

import json
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import filesystem

# Between two waits a worker sees that it has to end.
_WAIT_SECONDS = 0.2


class Channel(filesystem.Channel):
    """A queue is the files `<time>_<id>.<queue>.msg` of one folder, oldest first.

    Every exchange is bound to the queue of the same name.
    """

    def get_table(self, exchange: str) -> list[filesystem.exchange_queue_t]:
        """Return the queue that is bound to an exchange, without a file."""
        return [filesystem.exchange_queue_t(exchange, "", exchange)]

    def _queue_bind(self, *_: object) -> None:
        """Do nothing: `get_table` knows the bindings."""

    def _put(self, queue: str, payload: Any, **_options: Any) -> None:  # type: ignore[override]  # noqa: ANN401 - kombu's signature, on which its bases disagree
        name = f"{time.time_ns()}_{uuid.uuid4()}.{queue}.msg"
        unfinished = Path(self.processed_folder, name)
        unfinished.write_text(json.dumps(payload))
        unfinished.replace(Path(self.data_folder_out, name))

    def _get(self, queue: str, timeout: Any = None) -> Any:  # noqa: ANN401, ARG002 - kombu's own signature
        for name in sorted(os.listdir(self.data_folder_in)):  # noqa: PTH208 - names are all that is needed
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            # Only one worker can move a file, so only one gets the message.
            own = Path(self.processed_folder, name)
            try:
                Path(self.data_folder_in, name).replace(own)
            except FileNotFoundError:
                continue  # another worker was faster
            message = json.loads(own.read_text())
            own.unlink()
            return message
        raise Empty


class Transport(filesystem.Transport):
    """Kombu's folder transport over that channel."""

    Channel = Channel
    # Celery connects again after these. Any other error ends a worker, even while the folder is
    # only away; a message that is no JSON is a ValueError.
    connection_errors = (*filesystem.Transport.connection_errors, OSError, ValueError)  # type: ignore[assignment]  # kombu's own transports have more than one, too

    def drain_events(self, connection: Any, timeout: Any = None) -> Any:  # type: ignore[override]  # noqa: ANN401, ARG002 - kombu's signature, on which its bases disagree
        """Wait a moment for a message."""
        return super().drain_events(connection, timeout=_WAIT_SECONDS)  # type: ignore[no-untyped-call]  # kombu's
