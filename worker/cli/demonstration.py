"""The demonstration: the service from the first request to the downloaded model."""

import os
import threading
import time
from pathlib import Path

import httpx
from rich.console import Console

from app.settings import Settings, get_settings
from convpress import Client, ClientError
from convpress.local import default_output
from worker.cli import render
from worker.cli.remote.submission import Submission, submit_and_wait
from worker.cli.supervisor import CannotListen, listen, serve

_BUDGET = "0.5"
_PORTS_TRIED = 20
_POLL_SECONDS = 0.1


class DemonstrationError(Exception):
    """The service did not do what the demonstration shows; says what it did."""


def run(model: Path, settings: Settings) -> None:
    """Serve, and meanwhile post `model`, follow its job, fetch the result and show all of it.

    Raises:
        CannotListen: no port is free.
    """
    # only what went wrong is worth a line between those of the demonstration
    chosen = settings.model_copy(update={"port": _free_port(settings), "log_level": "WARNING"})
    os.environ["CONVPRESS_LOG_LEVEL"] = chosen.log_level  # for the worker
    get_settings.cache_clear()  # and for the API, which reads the environment as well
    console = render.console()
    threading.Thread(target=_show, args=(model, chosen, console), name="demo", daemon=True).start()
    serve(chosen)


def _free_port(settings: Settings) -> int:
    """Return the first free port from the configured one on."""
    for port in range(settings.port, settings.port + _PORTS_TRIED):
        try:
            listen(settings.host, port).close()
        except CannotListen:
            continue
        return port
    last = settings.port + _PORTS_TRIED - 1
    raise CannotListen(f"no free port on {settings.host} from {settings.port} to {last}")


def _show(model: Path, settings: Settings, console: Console) -> None:
    url = f"http://{settings.host}:{settings.port}"
    artifact = settings.data_dir / default_output(model).name
    try:
        _wait_until_ready(url)
        console.print(f"\nThe service is up at {url}. Posting {model} ...\n", markup=False)
        with Client(url) as client:
            job, report = submit_and_wait(
                client, Submission(model, _BUDGET, artifact), {}, quiet=False
            )
    except (DemonstrationError, ClientError) as error:
        console.print(f"the demonstration failed: {error}", markup=False)
        return
    console.print(render.account(report))
    console.print(
        f"Downloaded to {artifact}; its SHA-256 is the one that the job names.",
        markup=False,
        soft_wrap=True,
    )
    console.print("\nThe same by hand:\n", markup=False)
    for line in (
        f"convpress submit {model} --flops-budget {_BUDGET} --server {url}",
        f"curl -s -F model=@{model} -F flops_budget={_BUDGET} {url}/jobs",
        f"curl -s {url}/jobs/{job.id}",
        f"curl -s {url}/jobs/{job.id}/report",
        f"curl -OJ {url}/jobs/{job.id}/artifact",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True, highlight=False)
    console.print(
        f"\nIn a browser: {url}/dashboard/jobs/{job.id} shows this job, {url}/ all jobs, "
        f"{url}/docs the API.",
        markup=False,
        soft_wrap=True,
    )
    console.print("The service keeps running. Ctrl-C stops it.", markup=False)


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(_POLL_SECONDS)
    raise DemonstrationError("the service was not ready within a minute")
