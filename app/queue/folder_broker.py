"""The embedded broker: kombu's folder of message files, with messages that appear whole and are taken once.

Kombu's own channel creates a file and then fills it, so a reader that polls often meets empty messages and falls over,
and a process killed between the two leaves a table of exchanges that nobody can read again; what was read either piles
up for ever or passes through the machine's temporary folder.
"""

import json
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import filesystem

_MOMENT_SECONDS = 0.2


class Channel(filesystem.Channel):
    """A queue is the files `<time>_<id>.<queue>.msg` of one folder, oldest first; an exchange leads to its namesake."""

    def get_table(self, exchange: str) -> list[filesystem.exchange_queue_t]:
        """Return what is bound to an exchange: known without a file."""
        return [filesystem.exchange_queue_t(exchange, "", exchange)]

    def _queue_bind(self, *_: object) -> None:
        """Bind nothing: `get_table` knows."""

    def _put(self, queue: str, payload: Any, **_options: Any) -> None:  # type: ignore[override]  # noqa: ANN401 - kombu's signature, on which its bases disagree
        name = f"{time.time_ns()}_{uuid.uuid4()}.{queue}.msg"
        unfinished = Path(self.processed_folder, name)
        unfinished.write_text(json.dumps(payload))
        unfinished.replace(Path(self.data_folder_out, name))

    def _get(self, queue: str, timeout: Any = None) -> Any:  # noqa: ANN401, ARG002 - kombu's own signature
        for name in sorted(os.listdir(self.data_folder_in)):  # noqa: PTH208 - names are all that is needed
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            taken = Path(self.processed_folder, name)
            try:
                Path(self.data_folder_in, name).replace(taken)
            except FileNotFoundError:
                continue  # another worker was faster
            message = json.loads(taken.read_text())
            taken.unlink()
            return message
        raise Empty


class Transport(filesystem.Transport):
    """Kombu's folder transport over that channel."""

    Channel = Channel

    def drain_events(self, connection: Any, timeout: Any = None) -> Any:  # type: ignore[override]  # noqa: ANN401, ARG002 - kombu's signature, on which its bases disagree
        """Wait for a message; only for a moment, because a worker sees between two waits that it has to end."""
        return super().drain_events(connection, timeout=_MOMENT_SECONDS)  # type: ignore[no-untyped-call]  # kombu's
