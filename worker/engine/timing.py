"""The time of one run of a model: of several models in turn, by the clock and by the processor.

On a host with other work the clock also counts the waiting for a core. The processor's time does
not, so it compares models there too. It still grows a little: other programs displace the caches.

The processor's time of one thread is that of the calling thread, on which a model runs alone. The
time of the whole process, which counts several threads, goes in ticks of milliseconds where the
process has a limit of it, as jobs have.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from worker.engine.model import Inputs, Runner

_ENOUGH_ROUNDS, _ENOUGH_SECONDS = 15, 1.0
_FEWEST_ROUNDS, _MOST_SECONDS = 3, 20.0
_FEWEST_SECONDS = 0.1
"""Other work of the machine takes milliseconds, in which small models run many times."""
_FEWEST_STEADY_SECONDS, _STEADY = 0.02, 0.02
"""Where little else runs, less is enough: the error of a median, over it, is about `_STEADY`."""
_MOST_WAITING = 1.3
"""The clock's median over the processor's, above which a run has waited for a core.

On an idle core the two differ by some percent; two programs on one core double the clock's.
"""
_WIDEST_SPREAD = 0.5
"""The distance of the clock's quartiles over its median, above which the median tells little."""
_QUARTILES = (25, 50, 75)
_MS_PER_S = 1e3


@dataclass(frozen=True)
class Spread:
    """The median of several times and their quartiles, in milliseconds."""

    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread":
        """Return the spread of times in seconds, of which there is at least one.

        >>> Spread.of([0.001, 0.002, 0.004])
        Spread(median_ms=2.0, lower_quartile_ms=1.5, upper_quartile_ms=3.0)
        """
        lower, middle, upper = np.percentile(
            np.asarray(seconds) * _MS_PER_S, _QUARTILES
        )
        return cls(float(middle), float(lower), float(upper))


@dataclass(frozen=True)
class RunTimes:
    """The times of one run of a model, and the number of runs."""

    runs: int
    clock: Spread
    processor: Spread


@dataclass(frozen=True)
class Timings:
    """The times of both models: run in turn, or else one model after the other.

    On several threads, `processor` is the time of all of them together.
    """

    original: RunTimes
    artifact: RunTimes
    in_turn: bool
    threads: int = 1


def time_in_turn(
    runners: Sequence[Runner], inputs: Inputs, threads: int = 1
) -> tuple[RunTimes, ...]:
    """Time models that have run before on their threads, one run of each after another.

    There are 3 to 15 rounds: fewer where a run takes long, and more where all runs of a model take
    a tenth of a second or less, or a fiftieth where medians by the clock are known by then. Other
    work of the machine thus meets all models alike.
    """
    processor_time = time.thread_time if threads == 1 else time.process_time
    clock: list[list[float]] = [[] for _ in runners]
    processor: list[list[float]] = [[] for _ in runners]
    while not _is_enough(clock):
        for index, run in enumerate(runners):
            clock_start, processor_start = time.perf_counter(), processor_time()
            run(inputs)
            processor_seconds = processor_time() - processor_start
            processor[index].append(processor_seconds)
            clock_seconds = time.perf_counter() - clock_start
            clock[index].append(clock_seconds)
    pairs = zip(clock, processor, strict=True)
    return tuple(
        RunTimes(len(by_clock), Spread.of(by_clock), Spread.of(by_processor))
        for by_clock, by_processor in pairs
    )


def _is_enough(clock: Sequence[Sequence[float]]) -> bool:
    """Whether the models ran often enough, or for long enough on the mean."""
    rounds = len(clock[0])
    spent = sum(map(sum, clock)) / len(clock)
    if rounds < _FEWEST_ROUNDS:
        return spent >= _MOST_SECONDS
    if rounds < _ENOUGH_ROUNDS:
        return spent >= _ENOUGH_SECONDS
    # quartiles take as long as a small model: not after each round
    if spent < _FEWEST_STEADY_SECONDS or rounds % _ENOUGH_ROUNDS:
        return spent >= _FEWEST_SECONDS
    return spent >= _FEWEST_SECONDS or all(map(_is_steady, clock))


def _is_steady(seconds: Sequence[float]) -> bool:
    """Whether the median of some times is well known.

    The standard error of a median is about the distance of the quartiles over the root of the
    number of times, 0.93 of it for normal ones.
    """
    width = _relative_width(Spread.of(seconds))
    return width <= _STEADY * sqrt(len(seconds))


def why_busy(timings: Sequence[RunTimes]) -> str | None:
    """Return why the times by the clock are no times of the models, or None where they are.

    >>> quiet, slow = Spread(2.0, 1.9, 2.1), Spread(5.0, 4.9, 5.1)
    >>> why_busy([RunTimes(15, quiet, quiet), RunTimes(15, slow, quiet)])
    'the host was busy: the median by the clock was 2.5 times that of processor time'
    """
    waiting = max(
        each.clock.median_ms / max(each.processor.median_ms, 1e-9) for each in timings
    )
    if waiting > _MOST_WAITING:
        return (
            f"the host was busy: the median by the clock was {waiting:.1f} times that of "
            "processor time"
        )
    spread = max(_relative_width(each.clock) for each in timings)
    if spread > _WIDEST_SPREAD:
        share = f"{100 * spread:.0f} %"
        return (
            f"the host was busy: the clock's quartiles were {share} of the median apart"
        )
    return None


def _relative_width(spread: Spread) -> float:
    return (spread.upper_quartile_ms - spread.lower_quartile_ms) / max(
        spread.median_ms, 1e-9
    )
