"""A job in an engine that is imported before its time starts, as in a spare child."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from convpress.phases import Phase
from worker.engine.request import Request

_WARM = """
import json, sys, time
from importlib import import_module
from worker.engine.__main__ import _WARM
for module in _WARM: import_module(module)
from worker.engine.pipeline import compress
from worker.engine.request import Request
marks = []
def emit(phase, fraction):
    marks.append((time.process_time(), time.perf_counter(), phase, fraction))
compress(Request.from_json(sys.argv[1]), emit)
emit("storing", 1.0)
print(json.dumps(marks))
"""


class Seconds(NamedTuple):
    """Seconds of a process: those of the processor, of all threads, and those by the clock."""

    processor: float
    clock: float

    def since(self, start: "Seconds") -> "Seconds":
        """Return the seconds since an earlier moment."""
        return Seconds(self.processor - start.processor, self.clock - start.clock)

    def plus(self, more: "Seconds") -> "Seconds":
        """Return the sum."""
        return Seconds(self.processor + more.processor, self.clock + more.clock)


class Mark(NamedTuple):
    """A step of a job's progress: the seconds since its start, the phase, the fraction done."""

    seconds: Seconds
    phase: Phase
    fraction: float


def marks(request: Request) -> list[Mark]:
    """Run one job in a process of its own, and return its progress.

    It computes on one thread, but for what the request's `job_threads` do.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, "-c", _WARM, request.to_json()],
        capture_output=True,
        env=environment,
        text=True,
        check=True,
    )
    steps = []
    for processor, clock, phase, fraction in json.loads(done.stdout.splitlines()[-1]):
        steps.append(Mark(Seconds(processor, clock), phase, fraction))
    start = steps[0].seconds
    return [step._replace(seconds=step.seconds.since(start)) for step in steps]


def seconds_of_phases(steps: Sequence[Mark]) -> dict[Phase, Seconds]:
    """Return the seconds of each phase, in the order in which they began."""
    seconds: dict[Phase, Seconds] = {}
    for step, following in pairwise(steps):
        spent = following.seconds.since(step.seconds)
        before = seconds.get(step.phase, Seconds(0.0, 0.0))
        seconds[step.phase] = before.plus(spent)
    return seconds
