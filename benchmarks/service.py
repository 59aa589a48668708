"""The running service under a large model: memory, seconds, and time to `running`.

    python benchmarks/service.py [--output figures.json]

Makes a VGG16 of 553 MB with random weights (seed 0), starts `convpress serve` in a scratch folder,
posts the model with a budget of 0.47 and watches the processes every 20 ms; then posts a small
model twenty times. Beside the upload stands what writing and hashing the same bytes takes; and how
long the service and the imports of a child that calibrates take to start.
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
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
import torch
from torch import nn

from worker.sandbox.run import ENGINE

WIDTHS = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
SETTLING_SECONDS = 2
"""After the API is ready, until the worker listens as well."""
CHILD_IMPORTS = (
    "import worker.engine.pipeline, worker.engine.formats.torchscript.model, "
    "worker.engine.calibration.calibrate"
)
SMALL = Path(__file__).parents[1] / "tests" / "models" / "residual.onnx"


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
def serving(data_dir: Path) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """Run the service with its embedded defaults."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "CONVPRESS_DATA_DIR": str(data_dir),
        "CONVPRESS_PORT": str(port),
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


def post(http: httpx.Client, model: Path, budget: str) -> dict[str, Any]:
    """Post a model and return its job."""
    with model.open("rb") as file:
        response = http.post(
            "/jobs", data={"flops_budget": budget}, files={"model": (model.name, file)}
        )
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


def written_and_hashed(model: Path, copy: Path) -> float:
    """Return the seconds that it takes to write a file's bytes to the disk and to hash them."""
    began = time.perf_counter()
    digest = hashlib.sha256()
    with model.open("rb") as source, copy.open("wb") as target:
        while piece := source.read(1 << 20):
            digest.update(piece)
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    seconds = time.perf_counter() - began
    copy.unlink()
    return seconds


def imports_seconds() -> float:
    """Return the median seconds that the imports of a child take, of five."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", CHILD_IMPORTS], check=True)
        times.append(time.perf_counter() - began)
    return median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "vgg16.onnx"
        write_vgg16(model)
        plain = written_and_hashed(model, Path(scratch) / "copy")
        asked = time.perf_counter()
        with serving(Path(scratch) / "data") as (http, service):
            ready = time.perf_counter() - asked - SETTLING_SECONDS
            watch = Watch(service)
            watch.start()
            began = time.perf_counter()
            job = post(http, model, "0.47")
            posted = time.perf_counter()
            job = follow(http, job)
            ended = time.perf_counter()
            watch.stop()
            waits = [seconds_to_running(http) for _ in range(20)]
        figures = {
            "model_mb": model.stat().st_size / 1e6,
            "ready_s": ready,
            "child_imports_s": imports_seconds(),
            "upload_s": posted - began,
            "write_and_hash_s": plain,
            "write_and_hash_over_upload": plain / (posted - began),
            "job_s": ended - posted,
            "keep": job["result"]["keep"],
            "api_peak_mb": watch.peak["api"],
            "child_peak_mb": watch.peak["child"],
            "post_to_running_median_s": median(waits),
            "post_to_running_max_s": max(waits),
        }
    for name, value in figures.items():
        print(f"{name:26}{value:10.3f}")
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
