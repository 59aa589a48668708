"""The service under load: request rates, crowds, time to `running`, a long queue, pages.

    python benchmarks/load.py [--servers] [--jobs 10000] [--output figures.json]
        [--only start rate crowd pages followers queue]

One API process and two workers, on SQLite and a folder of messages or, with --servers, on a
PostgreSQL and a Redis of their own. Children only sleep, so that what is measured is the service.
The bare endpoint is a FastAPI application that answers with a constant of the same length, served
in the same way, called by the same clients in the same run.
"""

import argparse
import json
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
from running import crowd
from running.fleet import MODEL, Fleet, answers
from running.history import remember
from running.pace import Pace, bare, pace
from running.servers import wait_until
from sqlalchemy import create_engine, delete, func, insert, select
from sqlalchemy.orm import Session

from app.db.models import Job


def measure_rate(fleet: Fleet) -> dict[str, Any]:
    """Compare GET /jobs/{id} with the bare endpoint, in turns on the same machine."""
    job = post(fleet.base_url)
    wait_until(
        lambda: httpx.get(f"{fleet.base_url}/jobs/{job['id']}").json()["finished_at"],
        "a job",
    )
    length = len(httpx.get(f"{fleet.base_url}/jobs/{job['id']}").content)
    target = f"{fleet.base_url}/jobs/{job['id']}"
    bares: list[Pace] = []
    jobs: list[Pace] = []
    with bare(fleet.folder, length) as (url, pid):
        for _ in range(3):
            bares.append(pace(url, pid))
            jobs.append(pace(target, fleet.api.popen.pid))
    plain = Pace(*map(median, zip(*bares, strict=True)))
    full = Pace(*map(median, zip(*jobs, strict=True)))
    return {
        "bare_per_s": round(plain.rate),
        "get_job_per_s": round(full.rate),
        "get_job_of_bare": round(full.rate / plain.rate, 3),
        "bare_processor_us": round(plain.cost),
        "get_job_processor_us": round(full.cost),
        "get_job_of_bare_by_processor": round(plain.cost / full.cost, 3),
    }


def post(base_url: str, model: bytes = MODEL, nap: int = 1) -> dict[str, Any]:
    """Post a job whose child sleeps for some milliseconds."""
    form = {"flops_budget": "0.5", "input_shape": f"nap={nap}"}
    response = httpx.post(
        f"{base_url}/jobs", data=form, files={"model": ("net.onnx", model)}, timeout=120
    )
    response.raise_for_status()
    job: dict[str, Any] = response.json()
    return job


def measure_crowd(fleet: Fleet) -> dict[str, Any]:
    """Let 200 clients poll while 20 upload 50 MB each; count errors and watch the API's memory."""
    process = psutil.Process(fleet.api.popen.pid)
    job = post(fleet.base_url)
    ended = threading.Event()
    polled = [0] * 200
    errors = []

    def poll(number: int) -> None:
        with httpx.Client(base_url=fleet.base_url, timeout=120) as http:
            while not ended.is_set():
                try:
                    polled[number] += (
                        http.get(f"/jobs/{job['id']}").raise_for_status().is_success
                    )
                except httpx.HTTPError as error:
                    errors.append(repr(error))
                time.sleep(1)

    def upload(number: int) -> None:
        try:
            post(fleet.base_url, large(number))
        except httpx.HTTPError as error:
            errors.append(repr(error))

    before = process.memory_info().rss
    peak = 0
    with ThreadPoolExecutor(200) as pollers, ThreadPoolExecutor(20) as uploaders:
        began = time.monotonic()
        watching = [pollers.submit(poll, number) for number in range(200)]
        sending = [uploaders.submit(upload, number) for number in range(20)]
        while not all(call.done() for call in sending):
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.1)
        took = time.monotonic() - began
        ended.set()
        for call in watching:
            call.result()
    return {
        "crowd_errors": len(errors),
        "crowd_first_error": errors[0] if errors else None,
        "crowd_s": round(took, 1),
        "crowd_polls": sum(polled),
        "api_mb_before": round(before / 1e6),
        "api_mb_peak": round(peak / 1e6),
    }


def large(number: int) -> bytes:
    """Return 50 MB that pass for an ONNX file: an IR version, a long name, an empty graph."""
    name = bytes([number]) * (50 * 1000**2)
    return MODEL[:2] + b"\x12" + varint(len(name)) + name + MODEL[2:]


def varint(value: int) -> bytes:
    """Write a number as protobuf does."""
    low = value & 0x7F
    high = value >> 7
    return bytes([low | 0x80]) + varint(high) if high else bytes([low])


def measure_start(fleet: Fleet) -> dict[str, Any]:
    """Return the times from the POST to `running`, by the record of each of twenty jobs in turn."""
    waits = []
    for _ in range(20):
        job = post(fleet.base_url)
        ended = httpx.get(
            f"{fleet.base_url}/jobs/{job['id']}", params={"wait": 30}, timeout=40
        ).json()
        if ended["state"] != "succeeded":
            raise RuntimeError(ended)
        created = datetime.fromisoformat(ended["created_at"])
        started = datetime.fromisoformat(ended["started_at"])
        waits.append((started - created).total_seconds())
    return {
        "post_to_running_median_s": round(median(waits), 4),
        "post_to_running_max_s": round(max(waits), 4),
    }


def fill_queue(fleet: Fleet, jobs: int) -> list[str]:
    """Add queued jobs of one model to the database, and return their ids."""
    seed = post(fleet.base_url)
    wait_until(
        lambda: httpx.get(f"{fleet.base_url}/jobs/{seed['id']}").json()["finished_at"],
        "a job",
    )
    engine = create_engine(fleet.url)
    ids = [uuid.uuid4() for _ in range(jobs)]
    with Session(engine) as session, session.begin():
        at = session.scalar(select(func.max(Job.created_at)))
        common = {
            "model_sha256": seed["model"]["sha256"],
            "filename": "n",
            "flops_budget": "0.5",
            "input_shape": "nap=1",
            "created_at": at,
            "labels": {},
        }
        session.execute(insert(Job), [{"id": number, **common} for number in ids])
    engine.dispose()
    return [str(number) for number in ids]


def measure_followers(fleet: Fleet, jobs: int) -> dict[str, Any]:
    """Let a thousand clients follow jobs of a long queue, then take the queue away."""
    figures = crowd.measure(fleet, fill_queue(fleet, jobs))
    engine = create_engine(fleet.url)
    with Session(engine) as session, session.begin():
        session.execute(delete(Job).where(Job.state == "queued"))
    engine.dispose()
    return figures


def measure_queue(fleet: Fleet, jobs: int) -> dict[str, Any]:
    """Drain a long queue; compare its pace and the time of the list at both ends."""
    fill_queue(fleet, jobs)
    engine = create_engine(fleet.url)
    lists = []
    left = [jobs]
    began = time.monotonic()
    pace = [(0.0, jobs)]
    while left[-1]:
        time.sleep(1)
        asked = time.perf_counter()
        httpx.get(
            f"{fleet.base_url}/jobs", params={"state": "queued"}, timeout=30
        ).raise_for_status()
        lists.append(time.perf_counter() - asked)
        with Session(engine) as session:
            left.append(
                session.scalar(
                    select(func.count()).where(Job.state.in_(("queued", "running")))
                )
                or 0
            )
        pace.append((time.monotonic() - began, left[-1]))
    engine.dispose()
    tenth = jobs // 10
    first = next(at for at, waiting in pace if waiting <= jobs - tenth)
    last = pace[-1][0] - next(at for at, waiting in pace if waiting <= tenth)
    part = max(1, len(lists) // 10)
    return {
        "queue_jobs": jobs,
        "queue_s": round(pace[-1][0]),
        "first_tenth_per_s": round(tenth / first, 1),
        "last_tenth_per_s": round(tenth / last, 1),
        "list_ms_first": round(1000 * median(lists[:part]), 1),
        "list_ms_last": round(1000 * median(lists[-part:]), 1),
    }


def measure_pages(fleet: Fleet, jobs: int) -> dict[str, Any]:
    """Return the median times of the pages, and of their refreshes, with this many ended jobs."""
    model = remember(fleet, jobs)
    query = {"model_sha256": model, "state": "succeeded", "limit": 2}
    first, second = (
        job["id"]
        for job in httpx.get(f"{fleet.base_url}/jobs", params=query).json()["jobs"]
    )
    pages = {
        "jobs": "/",
        "jobs_failed": "/?state=failed",
        "jobs_by_name": "/?q=net7.onnx",
        "jobs_by_label": "/?q=run%3D7",
        "jobs_of_none": "/?q=nothing-is-called-so",
        "job": f"/dashboard/jobs/{first}",
        "model": f"/dashboard/models/{model}",
        "compare": f"/dashboard/compare?job={first}&job={second}",
        "system": "/dashboard/system?by=day",
        "stats": "/stats?by=day",
        "metrics": "/metrics",
    }
    refreshed = {"jobs_refresh": "/", "system_refresh": "/dashboard/system"}
    with httpx.Client(
        base_url=fleet.base_url, timeout=30, headers={"Accept": "text/html"}
    ) as http:
        times = {name: milliseconds(http, path) for name, path in pages.items()}
        http.headers["HX-Request"] = "true"
        times |= {name: milliseconds(http, path) for name, path in refreshed.items()}
    return {"pages_jobs": jobs} | {f"{name}_ms": spent for name, spent in times.items()}


def milliseconds(http: httpx.Client, path: str) -> float:
    """Return the median time of a page over twenty calls."""
    times = []
    for _ in range(20):
        began = time.perf_counter()
        http.get(path).raise_for_status()
        times.append(time.perf_counter() - began)
    return round(1000 * median(times), 1)


MEASURES: dict[str, Callable[[Fleet, int], dict[str, Any]]] = {
    "start": lambda fleet, _: measure_start(fleet),
    "rate": lambda fleet, _: measure_rate(fleet),
    "crowd": lambda fleet, _: measure_crowd(fleet),
    "pages": measure_pages,
    "followers": measure_followers,
    "queue": measure_queue,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--servers",
        action="store_true",
        help="PostgreSQL and Redis instead of SQLite and a folder",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=MEASURES,
        default=list(MEASURES),
        help="default: all",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=10_000,
        help="jobs next to the pages and followers, and in the long queue",
    )
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    crowd.allow_connections()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PostgreSQL's own user has to get in
        fleet = Fleet(Path(folder), servers=arguments.servers, disk=False)
        try:
            wait_until(lambda: answers(fleet.base_url), "the API")
            figures = {}
            for name, measure in MEASURES.items():
                if name in arguments.only:
                    figures |= measure(fleet, arguments.jobs)
        finally:
            fleet.end()
    for name, value in figures.items():
        print(f"{name:26} {value}")
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
