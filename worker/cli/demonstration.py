"""The demonstration: a tour of the service, from what is posted to what there is to click.

A model with test images beside it (`digits_test.npz`) has its accuracy measured before and after;
images of its training set (`digits_samples.npz`) are sent along as samples.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
from rich.console import Console

from app.settings import Settings, get_settings
from convpress import Client, ClientError
from convpress.client.arguments import Options
from convpress.local import default_output
from convpress.text.quantities import size
from worker.cli import render, tour
from worker.cli.remote.submission import Submission, submit_and_wait
from worker.cli.supervisor import CannotListen, listen, serve

_BUDGET = "0.5"
_SAMPLES = "digits_samples.npz"
_TEST = "digits_test.npz"
_MEASURE = (sys.executable, "-P", "-m", "worker.cli.measure_accuracy")
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
    chosen = settings.model_copy(
        update={"port": _free_port(settings), "log_level": "WARNING"}
    )
    os.environ["CONVPRESS_LOG_LEVEL"] = chosen.log_level  # for the worker
    get_settings.cache_clear()  # and for the API, which reads the environment as well
    console = render.console()
    threading.Thread(
        target=_show, args=(model, chosen, console), name="demo", daemon=True
    ).start()
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
    raise CannotListen(
        f"no free port on {settings.host} from {settings.port} to {last}"
    )


def _show(model: Path, settings: Settings, console: Console) -> None:
    url = f"http://{settings.host}:{settings.port}"
    try:
        _wait_until_ready(url)
        with Client(url) as client:
            _lead(client, url, model, settings, console)
    except (DemonstrationError, ClientError) as error:
        console.print(f"the demonstration failed: {error}", markup=False)


def _lead(
    client: Client, url: str, model: Path, settings: Settings, console: Console
) -> None:
    """Post the model, and show each step in its order.

    Raises:
        ClientError: a step failed.
        DemonstrationError: the accuracy could not be measured.
    """

    def say(*lines: str) -> None:
        for line in lines:
            console.print(line, markup=False, soft_wrap=True, highlight=False)

    samples = beside(model, _SAMPLES)
    artifact = settings.data_dir / default_output(model).name
    say(f"\nThe service is up at {url}.", "\n1. What is posted")
    say(f"   {model}, {size(model.stat().st_size)}, to keep half of its FLOPs")
    if samples is not None:
        say(
            f"   {samples}, some of its training images; without them the engine makes its own"
        )
    options: Options = {} if samples is None else {"samples": samples}

    say("\n2. How far it is")
    submission = Submission(model, _BUDGET, artifact)
    job, report = submit_and_wait(client, submission, options, quiet=False)
    if job.started_at is not None and job.finished_at is not None:
        say(f"   done in {(job.finished_at - job.started_at).total_seconds():.1f} s")

    say("\n3. What came back")
    console.print(render.sites(report))
    say(f"   Downloaded to {artifact}; its SHA-256 is the one that the job names.")

    say("\n4. Before and after")
    accuracy = measure(model, artifact)
    console.print(tour.comparison(report, accuracy))
    say(tour.accuracy_line(accuracy))
    console.print(render.evidence(report))

    say("\n5. What to click")
    for address, purpose in tour.clicks(url, job.id, job.model.sha256):
        say(f"   {address}", f"      {purpose}")

    say("\nThe same by hand:\n")
    fields = f"-F flops_budget={_BUDGET}"
    if samples is not None:
        fields += f" -F samples=@{samples}"
    say(*(f"   {command}" for command in tour.commands(url, model, job.id, fields)))
    say("\nThe service keeps running. Ctrl-C stops it.")


def beside(model: Path, name: str) -> Path | None:
    """Return the path of a file beside the model; None where there is no such file."""
    path = model.with_name(name)
    return path if path.is_file() else None


def measure(model: Path, artifact: Path) -> tour.Accuracy | None:
    """Run both files on the test images beside the model; None where there are none.

    Raises:
        DemonstrationError: a file could not be run.
    """
    test = beside(model, _TEST)
    if test is None or model.suffix != ".onnx":
        return None
    # A process of its own keeps the libraries of models out of the API's.
    measured = subprocess.run(  # noqa: S603 - ours
        [*_MEASURE, str(test), str(model), str(artifact)],
        env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
    )
    if measured.returncode != 0:
        raise DemonstrationError(
            f"the accuracy could not be measured: {measured.stderr[-500:]}"
        )
    figures = json.loads(measured.stdout)
    return tour.Accuracy(figures["count"], *figures["correct"])


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
