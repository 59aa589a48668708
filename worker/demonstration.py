"""`convpress demo`: the service as its user meets it, from the first request to the downloaded model."""

import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app.settings import Settings, get_settings
from worker import tables
from worker.report import Report, read
from worker.supervisor import CannotListen, listen, serve

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
    console = tables.console()
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
    raise CannotListen(f"no free port on {settings.host} from {settings.port} to {settings.port + _PORTS_TRIED - 1}")


def _show(model: Path, settings: Settings, console: Console) -> None:
    url = f"http://{settings.host}:{settings.port}"
    with httpx.Client(base_url=url, timeout=60) as http:
        try:
            _wait_until_ready(http)
            console.print(f"\nThe service is up at {url}. Posting {model} ...\n", markup=False)
            job = _follow(http, _post(http, model), console)
            artifact = _download(http, job, settings.data_dir / f"{model.stem}.convpress{model.suffix}")
            report = read(Report, _checked(http.get(f"/jobs/{job['id']}/report")).content)
        except (DemonstrationError, httpx.HTTPError) as error:
            console.print(f"the demonstration failed: {error}", markup=False)
            return
    console.print(tables.account(report))
    console.print(f"Downloaded to {artifact}; its SHA-256 is the one that the job names.", markup=False, soft_wrap=True)
    console.print("\nThe same by hand:\n", markup=False)
    for line in (
        f"curl -s -F model=@{model} -F flops_budget={_BUDGET} {url}/jobs",
        f"curl -s {url}/jobs/{job['id']}",
        f"curl -s {url}/jobs/{job['id']}/report",
        f"curl -OJ {url}/jobs/{job['id']}/artifact",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True, highlight=False)
    console.print(f"\nServing on at {url} ({url}/docs shows the API). Ctrl-C stops everything.", markup=False)


def _wait_until_ready(http: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if http.get("/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(_POLL_SECONDS)
    raise DemonstrationError("the service was not ready within a minute")


def _post(http: httpx.Client, model: Path) -> dict[str, Any]:
    with model.open("rb") as file:
        return _json(http.post("/jobs", data={"flops_budget": _BUDGET}, files={"model": (model.name, file)}))


def _follow(http: httpx.Client, job: dict[str, Any], console: Console) -> dict[str, Any]:
    with Progress(TextColumn("{task.description:12}"), BarColumn(), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task(job["state"], total=1.0)
        while job["finished_at"] is None:
            time.sleep(_POLL_SECONDS)
            job = _json(http.get(f"/jobs/{job['id']}"))
            bar.update(task, description=job["phase"] or job["state"], completed=job["progress"])
    if job["state"] != "succeeded":
        raise DemonstrationError(f"the job has {job['state']}: {(job['error'] or {}).get('detail')}")
    return job


def _download(http: httpx.Client, job: dict[str, Any], target: Path) -> Path:
    artifact = job["result"]["artifact"]
    content = _checked(http.get(artifact["href"])).content
    if hashlib.sha256(content).hexdigest() != artifact["sha256"]:
        raise DemonstrationError("the download has another SHA-256 than the job names")
    target.write_bytes(content)
    return target


def _json(response: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = _checked(response).json()
    return body


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        raise DemonstrationError(f"{response.request.method} {response.request.url}: {response.text}")
    return response
