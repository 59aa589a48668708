"""A job's progress: its phase, the fraction that is done, and the seconds of each phase."""

import time
from collections.abc import Callable, Sequence
from itertools import accumulate

from convpress.phases import PHASES, Phase
from worker.engine.numerics import memory
from worker.engine.phase_weights import CALIBRATED, Weights

Emit = Callable[[Phase, float], None]
"""Receives progress: the phase, and the fraction of the whole job that is done."""


def shares_before(work: Sequence[float]) -> list[float]:
    """Return the share of all work that is done before each part of it.

    >>> shares_before([1, 3, 4])
    [0.0, 0.125, 0.5]
    """
    *before, total = accumulate(work, initial=0.0)
    # parts that are no work at all take no time
    return [done / (total or 1.0) for done in before]


class Progress:
    """Follows a job through its phases.

    A phase gets its weight's share of what is left when it begins, so that a phase that is left out
    leaves its share to those that follow. `seconds` are those of each phase so far.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._phase: Phase = "loading"
        self._part = (0.0, 1.0)
        self._weights: Weights = CALIBRATED
        self._done = 0.0
        self._span = (0.0, self._end_of("loading"))
        self._since = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def stretch(self, start: float, end: float) -> None:
        """Let the fractions that follow fill a part of the whole: one of several tries."""
        self._part = (start, end)
        self._weights = CALIBRATED
        self._done = 0.0
        self._span = (0.0, self._end_of("loading"))

    def weigh(self, weights: Weights) -> None:
        """Divide what is left of the job by these weights, and by those before of other phases.

        What is left of the present phase begins anew: `within` takes shares of it alone.
        """
        self._weights = {**self._weights, **weights}
        self._span = self._done, self._end_of(self._phase)

    def enter(self, phase: Phase) -> None:
        """End the phase before, give its free memory back, and begin a phase."""
        self.close()
        memory.give_back()
        if phase != self._phase:
            self._done = self._span[1]
            self._span = self._done, self._end_of(phase)
        self._phase = phase
        self._tell()

    def within(self, done: float, of: int) -> None:
        """Emit progress within the present phase: `done` parts of `of`."""
        start, end = self._span
        self._done = start + (end - start) * done / of
        self._tell()

    def close(self) -> None:
        """End the present phase."""
        now = time.perf_counter()
        self.seconds[self._phase] = (
            self.seconds.get(self._phase, 0.0) + now - self._since
        )
        self._since = now

    def _end_of(self, phase: Phase) -> float:
        """Return the fraction at which a phase ends that has what is left before it."""
        left = [self._weights.get(each, 0.0) for each in PHASES[PHASES.index(phase) :]]
        share = left[0] / sum(left)
        return self._done + (1 - self._done) * share

    def _tell(self) -> None:
        start, end = self._part
        self._emit(self._phase, round(start + (end - start) * self._done, 4))
