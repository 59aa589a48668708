"""The time left follows from the work done, and is never negative."""

import random

import pytest

from convpress.phases import PHASES, STARTS
from worker.time_left import TimeLeft


class Clock:
    now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_quarter_of_the_work_in_a_minute_leaves_three(clock):
    left = TimeLeft(clock)
    clock.now += 60
    left.note("measuring", 0.25)
    assert left.seconds() == pytest.approx(180)


def test_nothing_is_said_before_a_tenth_is_done(clock):
    left = TimeLeft(clock)
    assert left.seconds() is None
    clock.now += 60
    left.note("measuring", 0.0999)
    assert left.seconds() is None
    left.note("measuring", 0.1)
    assert left.seconds() == pytest.approx(540)


def test_work_that_stands_still_takes_longer(clock):
    left = TimeLeft(clock)
    clock.now += 10
    left.note("measuring", 0.25)
    assert left.seconds() == pytest.approx(30)
    clock.now += 10
    assert left.seconds() == pytest.approx(60)


def test_phases_that_are_not_needed_are_no_work(clock):
    """An earlier analysis takes the place of all before the allocation."""
    left = TimeLeft(clock)
    left.note("loading", 0.0)
    clock.now += 2
    left.note("allocating", 0.5)
    assert left.seconds() is None
    clock.now += 6
    left.note("refining", 0.65)
    # 0.05 of loading, 0.01 of allocating and 0.14 of refining took 8 s
    assert left.seconds() == pytest.approx(8 * 0.35 / 0.2)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_never_negative_and_ends_at_nothing(clock, seed):
    chance = random.Random(seed)
    left = TimeLeft(clock)
    for phase in PHASES:
        if chance.random() < 0.3:
            continue
        for part in range(3):
            # clocks may stand still; a phase may begin anew
            clock.now += chance.choice([0.0, 0.5, 30.0])
            left.note(
                phase, min(STARTS[phase] + 0.01 * chance.randrange(part + 1), 1.0)
            )
            seconds = left.seconds()
            assert seconds is None or seconds >= 0
    left.note("storing", 1.0)
    assert left.seconds() in (0.0, None)


def test_a_clock_that_goes_back_gives_no_negative_time(clock):
    left = TimeLeft(clock)
    clock.now -= 5
    left.note("refining", 0.6)
    assert left.seconds() in (0.0, None)
