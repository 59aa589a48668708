"""Timing: models run in turn, under two clocks that tests move by hand."""

import numpy as np
import pytest

from worker.engine import timing
from worker.engine.timing import RunTimes, Spread, time_in_turn, why_busy


@pytest.fixture(autouse=True)
def brief_timing():
    """Time models as jobs do."""


class Host:
    """A host whose clocks move only while a model runs."""

    def __init__(self, monkeypatch):
        self.clock = self.processor = 0.0
        self.calls = []
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.clock)
        monkeypatch.setattr(timing.time, "thread_time", lambda: self.processor)

    def model(self, name, seconds, waiting=0.0, held_up=()):
        """A model's runner; `held_up` are the runs that take twice as long by the clock."""

        def run(inputs):
            number = self.calls.count(name)
            self.calls.append(name)
            self.processor += seconds
            self.clock += seconds + waiting + seconds * (number in held_up)
            return {"y": np.zeros(1)}

        return run


@pytest.fixture
def host(monkeypatch):
    return Host(monkeypatch)


@pytest.mark.parametrize(
    ("each", "runs"), [(2**-13, 165), (1 / 64, 15), (1 / 8, 8), (1 / 2, 3), (32, 1)]
)
def test_small_models_are_timed_for_a_fiftieth_of_a_second_and_large_ones_seldom(
    host, each, runs
):
    """Of a few milliseconds together, anything else that the machine does would be a large part."""
    [times] = time_in_turn([host.model("one", each)], {})
    assert times.runs == runs == len(host.calls)
    assert times.clock.median_ms == times.processor.median_ms == 1000 * each


def test_small_models_whose_times_differ_are_timed_for_a_tenth_of_a_second(host):
    every_third = range(0, 1000, 3)
    steady = host.model("steady", 2**-13)
    held_up = host.model("held up", 2**-13, held_up=every_third)
    times = time_in_turn([steady, held_up], {})
    # on the mean of both, a run takes 7 / 6 as long
    assert {each.runs for each in times} == {703}


def test_models_run_in_turn_and_as_often_as_each_other(host):
    slow, quick = host.model("slow", 1 / 8), host.model("quick", 1 / 16)
    slow_times, quick_times = time_in_turn([slow, quick], {})
    assert host.calls[:4] == ["slow", "quick", "slow", "quick"]
    assert slow_times.runs == quick_times.runs == len(host.calls) / 2
    assert (slow_times.processor.median_ms, quick_times.processor.median_ms) == (
        125,
        62.5,
    )


def test_waiting_is_in_the_times_by_the_clock_alone(host):
    [times] = time_in_turn([host.model("one", 1 / 8, waiting=1 / 8)], {})
    assert (times.processor.median_ms, times.clock.median_ms) == (125, 250)


def test_of_several_threads_the_processors_time_is_that_of_the_process(
    host, monkeypatch
):
    monkeypatch.setattr(timing.time, "process_time", lambda: 2 * host.processor)
    [times] = time_in_turn([host.model("one", 1 / 8)], {}, 2)
    assert (times.processor.median_ms, times.clock.median_ms) == (250, 125)


def test_one_run_that_is_held_up_changes_no_median_and_makes_no_host_busy(host):
    times = time_in_turn([host.model("one", 1 / 16, held_up=(1,))], {})
    assert times[0].clock.median_ms == 62.5
    assert why_busy(times) is None


def spread(median, width=0.0):
    return Spread(median, median - width / 2, median + width / 2)


@pytest.mark.parametrize(
    ("processor", "clock", "reason"),
    [
        (spread(2.0), spread(2.5), None),
        (spread(2.0, 3.0), spread(2.0, 0.9), None),
        (spread(2.0), spread(2.7), "the median by the clock was 1.4 times"),
        (spread(2.0), spread(2.0, 1.1), "quartiles were 55 % of the median apart"),
        (spread(0.0), spread(0.0), None),
    ],
)
def test_a_host_is_busy_if_runs_wait_or_differ_by_the_clock(processor, clock, reason):
    quiet = RunTimes(15, spread(1.0), spread(1.0))
    why = why_busy([quiet, RunTimes(15, clock, processor)])
    assert (why is None) if reason is None else (reason in why)
