"""The running service under a large model: memory, seconds, and time to `running`.

    python benchmarks/service.py [--only upload spare] [--output figures.json]

Makes a VGG16 of 553 MB with random weights (seed 0), starts `convpress serve` in a scratch folder,
posts the model with a budget of 0.47 and watches the processes every 20 ms; then posts a small
model twenty times. Beside the upload stands what writing and hashing the same bytes takes; and how
long the service and the imports of a child that calibrates take to start. The processor time of the
API is that of the process and its threads.

Then it posts small jobs by the weights alone, with a spare child and without: one at a time, and
some that wait in the queue together. It counts the processor seconds of all processes until the end
of a job.
"""

import argparse
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import httpx
import psutil
import torch
from torch import nn

from worker.sandbox.run import ENGINE

WIDTHS = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
SETTLING_SECONDS = 2
"""After the API is ready, until the worker listens as well."""
SMALL = Path(__file__).parents[1] / "tests" / "models" / "residual.onnx"
SCRIPTED = SMALL.with_name("residual.scripted.pt")
SMALL_JOBS = {
    SMALL: {"calibration": "none"},
    SCRIPTED: {"calibration": "none", "input_shape": "1x1x16x16"},
}
QUIET_SECONDS = 4
BUSY_SHARE = 0.04
"""The least processor time a second of a service that works; one that waits takes about 0.01."""
ALONE = 3
QUEUED = 12
CHILD_IMPORTS = (
    "import worker.engine.pipeline, worker.engine.formats.torchscript.model, "
    "worker.engine.calibration.calibrate"
)


def write_vgg16(path: Path) -> None:
    """Export VGG16 at 224x224; 0 among the widths is a pooling layer."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    channels = 3
    for width in WIDTHS:
        layers += (
            [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            if width
            else [nn.MaxPool2d(2)]
        )
        channels = width or channels
    linear = [
        nn.Linear(25088, 4096),
        nn.ReLU(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, 1000),
    ]
    model = nn.Sequential(*layers, nn.Flatten(), *linear).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, 224, 224),),
            path,
            dynamo=False,
            input_names=["image"],
        )


class Watch(threading.Thread):
    """Keeps the largest resident memory, in MB, of the API's process and of the engine's."""

    def __init__(self, service: psutil.Process) -> None:
        super().__init__(daemon=True)
        self.peak = {"api": 0.0, "child": 0.0}
        self._service = service
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until told to stop."""
        while not self._ended.wait(0.02):
            self._note("api", self._service)
            for process in self._service.children(recursive=True):
                try:
                    if ENGINE[-1] in process.cmdline():
                        self._note("child", process)
                except psutil.NoSuchProcess:
                    continue

    def _note(self, name: str, process: psutil.Process) -> None:
        self.peak[name] = max(self.peak[name], process.memory_info().rss / 1e6)

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()


@contextmanager
def serving(
    data_dir: Path, **settings: str
) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """Run the service with its embedded defaults, but for some settings."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "CONVPRESS_DATA_DIR": str(data_dir),
        "CONVPRESS_PORT": str(port),
    }
    environment |= {
        f"CONVPRESS_{name.upper()}": value for name, value in settings.items()
    }
    command = [sys.executable, "-m", "worker.cli", "serve"]
    with (
        subprocess.Popen(
            command, env=environment, stderr=subprocess.DEVNULL
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as http,
    ):
        try:
            while True:
                try:
                    if http.get("/readyz").is_success:
                        break
                except httpx.TransportError:
                    time.sleep(0.05)
            time.sleep(SETTLING_SECONDS)
            yield http, psutil.Process(process.pid)
        finally:
            process.terminate()


def post(http: httpx.Client, model: Path, budget: str, **fields: str) -> dict[str, Any]:
    """Post a model and return its job."""
    form = {"flops_budget": budget, **fields}
    with model.open("rb") as file:
        response = http.post("/jobs", data=form, files={"model": (model.name, file)})
    response.raise_for_status()
    job: dict[str, Any] = response.json()
    return job


def follow(http: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """Return a job when it has ended."""
    while job["finished_at"] is None:
        time.sleep(0.01)
        job = http.get(f"/jobs/{job['id']}").json()
    if job["state"] != "succeeded":
        raise RuntimeError(f"the job has {job['state']}: {job['error']}")
    return job


def seconds_to_running(http: httpx.Client) -> float:
    """Return the seconds from the POST of a small model until a worker has claimed it."""
    began = time.time()
    job = follow(http, post(http, SMALL, "0.5"))
    started = (
        time.mktime(time.strptime(job["started_at"][:19], "%Y-%m-%dT%H:%M:%S"))
        - time.timezone
    )
    return started + float("0" + job["started_at"][19:].rstrip("Z")) - began


class Spent(NamedTuple):
    """Seconds by the clock, and seconds of the processor."""

    clock: float
    processor: float


def written_and_hashed(model: Path, copy: Path) -> Spent:
    """Return the time that it takes to write a file's bytes to the disk and to hash them."""
    began = time.perf_counter()
    spent = time.process_time()
    digest = hashlib.sha256()
    with model.open("rb") as source, copy.open("wb") as target:
        while piece := source.read(1 << 20):
            digest.update(piece)
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    seconds = Spent(time.perf_counter() - began, time.process_time() - spent)
    copy.unlink()
    return seconds


def processor_seconds(process: psutil.Process) -> float:
    """Return the processor seconds of a process so far, without its children."""
    times = process.cpu_times()
    return float(times.user + times.system)


def family_seconds(service: psutil.Process) -> float:
    """Return the processor seconds of the service's processes and of their ended children."""
    total = 0.0
    for process in [service, *service.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
            total += times.children_user + times.children_system
    return total


def measure_spare(scratch: Path) -> dict[str, float]:
    """Return the processor seconds of small jobs with a spare child and without."""
    figures = {}
    for name, setting in (("spare", "true"), ("no_spare", "false")):
        with serving(scratch / name, spare_child=setting) as (http, service):
            rest(service)
            children = service.children(recursive=True)
            sizes = [
                child.memory_full_info().uss / 1e6
                for child in children
                if ENGINE[-1] in child.cmdline()
            ]
            figures[f"{name}_mb"] = max(sizes, default=0.0)
            for model, fields in SMALL_JOBS.items():
                seconds = [
                    seconds_until_end(http, service, model, fields)
                    for _ in range(ALONE)
                ]
                figures[f"{name}_{model.suffix[1:]}_s"] = median(seconds)
            spent = family_seconds(service)
            jobs = [
                post(http, SMALL, "0.5", **SMALL_JOBS[SMALL]) for _ in range(QUEUED)
            ]
            for job in jobs:
                follow(http, job)
            spent = family_seconds(service) - spent
            figures[f"{name}_queued_s"] = spent / QUEUED
    return figures


def seconds_until_end(
    http: httpx.Client, service: psutil.Process, model: Path, fields: dict[str, str]
) -> float:
    """Return the processor seconds of the service from the POST of a job to its end."""
    rest(service)
    spent = family_seconds(service)
    job = post(http, model, "0.5", **fields)
    while job["finished_at"] is None:
        job = http.get(f"/jobs/{job['id']}", params={"wait": 60}).json()
    if job["state"] != "succeeded":
        raise RuntimeError(f"the job has {job['state']}: {job['error']}")
    return family_seconds(service) - spent


def rest(service: psutil.Process) -> None:
    """Wait until the service has nothing to do: a spare child has imported the engine then."""
    quiet = 0
    before = family_seconds(service)
    while quiet < QUIET_SECONDS:
        time.sleep(1)
        spent = family_seconds(service)
        is_quiet = spent - before < BUSY_SHARE
        quiet = quiet + 1 if is_quiet else 0
        before = spent


def imports_seconds() -> float:
    """Return the median seconds that the imports of a child take, of five."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", CHILD_IMPORTS], check=True)
        times.append(time.perf_counter() - began)
    return median(times)


def measure_upload(scratch: Path) -> dict[str, float]:
    """Return the figures of a large model."""
    model = scratch / "vgg16.onnx"
    write_vgg16(model)
    plain = written_and_hashed(model, scratch / "copy")
    asked = time.perf_counter()
    with serving(scratch / "data") as (http, service):
        ready = time.perf_counter() - asked - SETTLING_SECONDS
        watch = Watch(service)
        watch.start()
        began = time.perf_counter()
        spent = processor_seconds(service)
        job = post(http, model, "0.47")
        spent = processor_seconds(service) - spent
        posted = time.perf_counter()
        job = follow(http, job)
        ended = time.perf_counter()
        watch.stop()
        waits = [seconds_to_running(http) for _ in range(20)]
    return {
        "model_mb": model.stat().st_size / 1e6,
        "ready_s": ready,
        "child_imports_s": imports_seconds(),
        "upload_s": posted - began,
        "write_and_hash_s": plain.clock,
        "write_and_hash_over_upload": plain.clock / (posted - began),
        "upload_processor_s": spent,
        "write_and_hash_processor_s": plain.processor,
        "upload_over_write_and_hash_by_processor": spent / plain.processor,
        "job_s": ended - posted,
        "keep": job["result"]["keep"],
        "api_peak_mb": watch.peak["api"],
        "child_peak_mb": watch.peak["child"],
        "post_to_running_median_s": median(waits),
        "post_to_running_max_s": max(waits),
    }


MEASURES = {"upload": measure_upload, "spare": measure_spare}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=MEASURES,
        default=list(MEASURES),
        help="default: all",
    )
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as scratch:
            figures |= MEASURES[name](Path(scratch))
    for name, value in figures.items():
        print(f"{name:40}{value:10.3f}")
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
