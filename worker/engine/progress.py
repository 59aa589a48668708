"""A job's progress: its phase, the fraction that is done, and the seconds of each phase."""

import time
from collections.abc import Callable
from itertools import pairwise

from convpress.phases import STARTS, Phase
from worker.engine.numerics import memory

Emit = Callable[[Phase, float], None]
"""Receives progress: the phase, and the fraction of the whole job that is done."""

# each phase but the last ends where the next one starts
_ENDS = {phase: STARTS[following] for phase, following in pairwise(STARTS)}


class Progress:
    """Follows a job through its phases."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._phase: Phase = "loading"
        self._part = (0.0, 1.0)
        self._since = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def stretch(self, start: float, end: float) -> None:
        """Let the fractions that follow fill a part of the whole: one of several tries."""
        self._part = (start, end)

    def enter(self, phase: Phase) -> None:
        """End the phase before, give its free memory back, and begin a phase."""
        self.close()
        memory.give_back()
        self._phase = phase
        self._tell(STARTS[phase])

    def within(self, done: float, of: int) -> None:
        """Emit progress within the present phase: `done` parts of `of`."""
        start, end = STARTS[self._phase], _ENDS[self._phase]
        share = (end - start) * done / of
        self._tell(start + share)

    def _tell(self, fraction: float) -> None:
        start, end = self._part
        self._emit(self._phase, round(start + (end - start) * fraction, 4))

    def close(self) -> None:
        """End the present phase."""
        now = time.perf_counter()
        self.seconds[self._phase] = (
            self.seconds.get(self._phase, 0.0) + now - self._since
        )
        self._since = now
