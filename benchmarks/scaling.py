"""A queueing model of the service, and its predictions against runs with 1, 2 and 4 workers.

    python benchmarks/scaling.py [--servers] [--nap 2.0] [--jobs 20] [--output figures.json]

Children sleep for `nap` seconds, so that a host of few cores can run many of them. Measured on one
worker is what a job takes without its child's sleep, and what processor time one costs in all
processes together. By these

- the rate at which W workers drain a queue is
  `min(W / (nap + overhead), cores / processor seconds a job)`;
- jobs that come at random, at 70 % of that rate, wait for the first worker that is free, each of
  which is free again `W / rate` seconds later: the same arrivals are posted and computed.
"""

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from heapq import heappop, heappush
from itertools import accumulate
from pathlib import Path
from statistics import mean
from typing import Any

import httpx
import psutil
from load import post
from running.fleet import Fleet, answers
from running.servers import wait_until

WORKERS = (1, 2, 4)
LOAD = 0.7


@contextmanager
def fleet_of(workers: int, *, servers: bool) -> Iterator[Fleet]:
    """Run an API with `workers` workers."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PostgreSQL's own user has to get in
        fleet = Fleet(Path(folder), servers=servers, disk=False, workers=workers)
        try:
            wait_until(lambda: answers(fleet.base_url), "the API")
            for job in [
                post(fleet.base_url) for _ in range(2 * workers)
            ]:  # until every worker has started
                ended(fleet, job)
            yield fleet
        finally:
            fleet.end()


def ended(fleet: Fleet, job: dict[str, Any]) -> dict[str, Any]:
    """Wait for a job and return it."""
    while True:
        asked = {"wait": 30}
        page: dict[str, Any] = httpx.get(
            f"{fleet.base_url}/jobs/{job['id']}", params=asked, timeout=40
        ).json()
        if page["finished_at"]:
            if page["state"] != "succeeded":
                raise RuntimeError(page)
            return page


def seconds(job: dict[str, Any], since: str, until: str) -> float:
    """Return the seconds between two of a job's times."""
    return (
        datetime.fromisoformat(job[until]) - datetime.fromisoformat(job[since])
    ).total_seconds()


def processor_seconds(fleet: Fleet) -> float:
    """Return the processor seconds of the service's processes and of their ended children."""
    roots = [fleet.api, *fleet.workers]
    if fleet.postgres and fleet.redis:
        roots += [fleet.postgres.process, fleet.redis.process]
    total = 0.0
    for root in roots:
        for process in [
            psutil.Process(root.popen.pid),
            *psutil.Process(root.popen.pid).children(recursive=True),
        ]:
            times = process.cpu_times()
            total += (
                times.user + times.system + times.children_user + times.children_system
            )
    return total


def drained(fleet: Fleet, jobs: int, nap: float) -> tuple[float, float]:
    """Return jobs a second, and processor seconds a job, while a queue is drained."""
    spent = processor_seconds(fleet)
    posted = [post(fleet.base_url, nap=round(1000 * nap)) for _ in range(jobs)]
    done = [ended(fleet, job) for job in posted]
    spent = processor_seconds(fleet) - spent
    first = min(datetime.fromisoformat(job["started_at"]) for job in done)
    last = max(datetime.fromisoformat(job["finished_at"]) for job in done)
    return jobs / (last - first).total_seconds(), spent / jobs


def arrivals(jobs: int, rate: float) -> list[float]:
    """Return the arrival times of jobs, in seconds: a Poisson process."""
    dice = random.Random(0)
    return list(accumulate(dice.expovariate(rate) for _ in range(jobs)))


def waited(fleet: Fleet, times: Sequence[float], nap: float) -> float:
    """Return the mean wait of jobs that arrive at these times, in seconds."""
    posted = []
    began = time.monotonic()
    for at in times:
        time.sleep(max(0.0, began + at - time.monotonic()))
        posted.append(post(fleet.base_url, nap=round(1000 * nap)))
    return mean(
        seconds(ended(fleet, job), "created_at", "started_at") for job in posted
    )


def expected_wait(workers: int, times: Sequence[float], service: float) -> float:
    """Return the mean wait of jobs that arrive at these times and take equally long, in seconds.

    Of one worker the second job waits here, of two the third.

    >>> expected_wait(1, [0.0, 0.0, 5.0], 2.0), expected_wait(2, [0.0, 0.0, 1.0], 2.0)
    (0.6666666666666666, 0.3333333333333333)
    """
    free = [0.0] * workers
    waits = []
    for at in times:
        start = max(at, heappop(free))
        waits.append(start - at)
        heappush(free, start + service)
    return mean(waits)


def main() -> None:
    """Measure and print a row for each number of workers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--servers",
        action="store_true",
        help="PostgreSQL and Redis instead of SQLite and a folder",
    )
    parser.add_argument(
        "--nap", type=float, default=2.0, help="seconds that a child sleeps"
    )
    parser.add_argument("--jobs", type=int, default=20, help="jobs a worker")
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    rows: list[dict[str, float]] = []
    cycle = cost = 0.0
    print(
        "| workers | jobs/s predicted | measured | mean wait s predicted | measured | processor s "
        "a job |"
    )
    print("|---|---|---|---|---|---|")
    for workers in WORKERS:
        with fleet_of(workers, servers=arguments.servers) as fleet:
            rate, spent = drained(fleet, arguments.jobs * workers, arguments.nap)
            if workers == 1:
                cycle = 1 / rate
                cost = spent
            predicted = min(workers / cycle, (os.cpu_count() or 1) / cost)
            times = arrivals(arguments.jobs * workers, LOAD * predicted)
            wait = waited(fleet, times, arguments.nap)
        row = {
            "workers": workers,
            "rate_predicted": predicted,
            "rate": rate,
            "wait_predicted": expected_wait(workers, times, workers / predicted),
            "wait": wait,
            "processor_s": spent,
        }
        rows.append(row)
        print(
            f"| {workers} | {row['rate_predicted']:.2f} | {rate:.2f} | "
            f"{row['wait_predicted']:.2f} | {wait:.2f} "
            f"| {spent:.3f} |",
            flush=True,
        )
    print(
        f"\noverhead of a job without its child's sleep: {1000 * (cycle - arguments.nap):.0f} ms"
    )
    if arguments.output:
        arguments.output.write_text(
            json.dumps({"overhead_s": cycle - arguments.nap, "rows": rows}, indent=1)
            + "\n"
        )


if __name__ == "__main__":
    main()
