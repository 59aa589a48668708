"""Where a job is: the phase it is in, the fraction behind it, and the seconds that each phase took."""

import time
from collections.abc import Callable, Mapping

from worker.engine.numerics import memory
from worker.engine.request import Phase

Emit = Callable[[Phase, float], None]
"""Told of progress: the phase, and the fraction of the whole job that is behind."""

# Where each phase begins, as a fraction of the whole; roughly as their times are on large models.
_STARTS: Mapping[Phase, float] = {
    "loading": 0.0,
    "measuring": 0.05,
    "factoring": 0.4,
    "allocating": 0.5,
    "refining": 0.51,
    "rewriting": 0.8,
    "verifying": 0.85,
    "storing": 0.95,
}
_ENDS = dict(zip(_STARTS, [*_STARTS.values()][1:], strict=False))


class Progress:
    """Follows a job through its phases."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._phase: Phase = "loading"
        self._since = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def enter(self, phase: Phase) -> None:
        """Begin a phase, and end the one before: what memory it has left free is given back."""
        self.close()
        memory.give_back()
        self._phase = phase
        self._emit(phase, _STARTS[phase])

    def within(self, done: float, of: int) -> None:
        """Say how much of the present phase is behind."""
        start, end = _STARTS[self._phase], _ENDS[self._phase]
        self._emit(self._phase, round(start + (end - start) * done / of, 4))

    def close(self) -> None:
        """End the present phase."""
        now = time.perf_counter()
        self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
        self._since = now
