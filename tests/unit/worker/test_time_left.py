"""The time left follows from the work done, and is never negative."""

import random

import pytest

from convpress.phases import PHASES
from worker.engine.phase_weights import BY_WEIGHTS, CHOSEN, INT8_ALONE
from worker.engine.progress import Progress
from worker.time_left import TimeLeft


class Clock:
    now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def left(clock):
    """Return an estimate for a job whose loading took seven seconds."""
    estimate = TimeLeft(clock)
    estimate.note("loading", 0.0)
    clock.now += 7
    estimate.note("measuring", 0.0)
    return estimate


def test_a_quarter_of_the_work_in_a_minute_leaves_three(clock, left):
    clock.now += 60
    left.note("measuring", 0.25)
    assert left.seconds() == pytest.approx(180)


def test_nothing_is_said_before_a_small_part_is_done(clock, left):
    assert left.seconds() is None
    clock.now += 60
    left.note("measuring", 0.0399)
    assert left.seconds() is None
    left.note("measuring", 0.04)
    assert left.seconds() == pytest.approx(60 * 0.96 / 0.04)


def test_work_that_stands_still_takes_longer(clock, left):
    clock.now += 10
    left.note("measuring", 0.25)
    assert left.seconds() == pytest.approx(30)
    clock.now += 10
    assert left.seconds() == pytest.approx(60)


def test_a_second_try_loads_again_and_that_is_no_work(clock, left):
    clock.now += 10
    left.note("verifying", 0.5)
    left.note("loading", 0.5)
    clock.now += 30
    left.note("refining", 0.52)
    assert left.seconds() == pytest.approx(10 * 0.48 / 0.5)


# Processor seconds of the phases of jobs at half the FLOPs, one after another: measuring,
# factoring, allocating, refining, rewriting, verifying. The first two are of a calibration with 5
# steps of distilling, the third of one with 40, and the weights of measuring are as in these.
RECORDED = [
    ({"measuring": 19.0}, (13.3, 0.8, 2.7, 7.8, 0.1, 0.4)),
    ({"measuring": 19.0}, (6.8, 0.8, 1.0, 5.2, 0.1, 0.3)),
    ({"measuring": 154.0}, (77.8, 0.9, 1.8, 7.3, 0.1, 0.5)),
    (BY_WEIGHTS, (0.0, 14.4, 0.0, 2.7, 1.9, 5.3)),
    (BY_WEIGHTS, (0.0, 9.0, 0.1, 2.2, 0.7, 2.6)),
    (CHOSEN, (0.0, 0.0, 0.0, 7.8, 0.1, 0.4)),
    (INT8_ALONE, (9.0, 0.0, 0.0, 0.0, 3.4, 1.4)),
]


@pytest.mark.parametrize(("weights", "seconds"), RECORDED)
def test_of_jobs_that_were_recorded_most_of_the_time_left_is_within_a_half(
    clock, weights, seconds
):
    """After a tenth of the job there is a figure, and for most of the rest it is about right."""
    left = TimeLeft(clock)
    progress = Progress(left.note)
    progress.enter("loading")
    progress.weigh(weights)
    total, began = sum(seconds), clock.now
    right = wrong = 0.0
    for phase, lasting in zip(PHASES[1:], seconds, strict=False):
        if not lasting:
            continue
        progress.enter(phase)
        for part in range(20):
            progress.within(part, 20)
            done = clock.now - began
            if 0.1 < done / total < 0.95:
                ratio = left.seconds() / (total - done)
                is_right = 1 / 1.5 <= ratio <= 1.5
                right += is_right * lasting
                wrong += (not is_right) * lasting
            clock.now += lasting / 20
    assert right > 2 * wrong


@pytest.mark.parametrize("seed", range(20))
def test_it_is_never_negative_and_ends_at_nothing(clock, seed):
    chance = random.Random(seed)
    left = TimeLeft(clock)
    fraction = 0.0
    for phase in PHASES:
        if chance.random() < 0.3:
            continue
        for _ in range(3):
            # clocks may stand still
            clock.now += chance.choice([0.0, 0.5, 30.0])
            fraction += 0.04 * chance.random()
            left.note(phase, fraction)
            seconds = left.seconds()
            assert seconds is None or seconds >= 0
    left.note("storing", 1.0)
    assert left.seconds() in (0.0, None)


def test_a_clock_that_goes_back_takes_no_work_away(clock, left):
    clock.now += 60
    left.note("measuring", 0.5)
    clock.now -= 5
    assert left.seconds() == pytest.approx(60)


@pytest.mark.parametrize("seconds", [1.9, 2.1])
def test_nothing_is_said_of_a_job_of_a_few_seconds(clock, left, seconds):
    clock.now += seconds
    left.note("measuring", 0.4)
    # all of the work takes 4.75 or 5.25 seconds
    is_known = seconds > 2
    assert (left.seconds() is not None) is is_known
