"""The API in this process and a worker as its supervised child; they start and end together."""

import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import structlog
import uvicorn

from app.db.migrations import migrate
from app.http.framing import MOST_HEADER_BYTES
from app.http.origin import is_loopback
from app.logging import configure_logging
from app.settings import Settings
from worker.sandbox import doctor
from worker.sandbox.die_with_parent import dying_with_parent

_WORKER = (sys.executable, "-P", "-m", "worker.cli", "worker")
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 10.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_STEADY_SECONDS = 60.0
_MOST_FILES = 2**20
"""The largest hard limit on open files that Linux has by default: some hosts have it a thousand
times as high, and programs that go through all descriptors would take minutes there."""

log = structlog.get_logger(__name__)


class CannotListen(Exception):
    """The API cannot listen on the address; the message says why, and what to do."""


def serve(settings: Settings) -> None:
    """Bring the database up to date, then run the API and a worker until SIGINT or SIGTERM.

    Raises:
        CannotListen: before anything was started.
        DeviceMissing: before anything was started.
        SandboxIncomplete: before anything was started.
    """
    # uvicorn raises the signal again when it is done; an exit runs the cleanup of open blocks.
    signal.signal(signal.SIGTERM, _exit)
    configure_logging(settings.log_level)
    _require_keys(settings)
    doctor.require(settings)
    doctor.require_device(settings.device)
    allow_open_files()
    with listen(settings.host, settings.port) as address:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        migrate(settings.sql_url)
        log.info(
            "serving",
            url=f"http://{settings.host}:{settings.port}",
            data=str(settings.data_dir.absolute()),
        )
        with supervised(_WORKER):
            config = uvicorn.Config(
                "app.main:create_app",
                factory=True,
                # h11 ends headers beyond a limit, by default 16 KiB; httptools holds them all
                # before any key is checked.
                http="h11",
                h11_max_incomplete_event_size=MOST_HEADER_BYTES,
                log_config=None,
                access_log=False,
                # app.main trusts the headers of configured proxies alone.
                proxy_headers=False,
                timeout_graceful_shutdown=5,
            )
            with suppress(KeyboardInterrupt):  # Ctrl-C is the usual end
                uvicorn.Server(config).run(sockets=[address])


def listen(host: str, port: int) -> socket.socket:
    """Open the API's socket.

    Raises:
        CannotListen: the address is taken, or belongs to another machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {host}:{port}: {error.strerror}; "
            "CONVPRESS_HOST and CONVPRESS_PORT choose another address"
        ) from error


def allow_open_files() -> None:
    """Raise the soft limit on open files to the hard one: each client holds a descriptor.

    The usual soft limit of 1024 is for programs that call `select`, which none here does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    log.info("raised the limit on open files", before=soft, now=most)


def _require_keys(settings: Settings) -> None:
    if not settings.api_keys and not is_loopback(settings.host):
        raise CannotListen(
            f"{settings.host} is open to other machines, and they need keys: make one with "
            "`convpress keys create OWNER` and set CONVPRESS_API_KEYS=true"
        )


@contextmanager
def supervised(command: tuple[str, ...]) -> Iterator[None]:
    """Keep a command running during the block, in a process group of its own."""
    stopping = threading.Event()
    keeper = threading.Thread(
        target=_keep_running, args=(command, stopping), name="supervisor"
    )
    keeper.start()
    try:
        yield
    finally:
        stopping.set()
        keeper.join()


def _keep_running(command: tuple[str, ...], stopping: threading.Event) -> None:
    """Restart the command whenever it ends; the pause grows while it ends soon after its start."""
    pause = _SHORTEST_PAUSE
    while not stopping.is_set():
        started = time.monotonic()
        # Any exception would end this thread, and nothing would start the worker again.
        try:
            end = f"status {_run(command, stopping)}"
        except Exception as error:
            end = f"{type(error).__name__}: {error}"
        if stopping.is_set():
            return
        was_steady = time.monotonic() - started > _STEADY_SECONDS
        pause = _SHORTEST_PAUSE if was_steady else min(2 * pause, _LONGEST_PAUSE)
        log.error("the worker ended and is restarted", end=end, pause=pause)
        stopping.wait(pause)


def _run(command: tuple[str, ...], stopping: threading.Event) -> int | None:
    """Run a command until it ends or `stopping` is set, and return its exit status."""
    with subprocess.Popen(  # noqa: S603 - ours
        dying_with_parent([*command]), stdin=subprocess.DEVNULL, start_new_session=True
    ) as child:
        while child.poll() is None and not stopping.wait(_POLL_SECONDS):
            pass
        if stopping.is_set():
            _end(child)
        return child.returncode


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
