"""The time that a job's work takes yet, from the work that is done."""

import time
from collections.abc import Callable

from convpress.phases import PHASES, STARTS, Phase

# Before that the speed of one phase alone would speak for all of them.
_LEAST_SHARE = 0.1


class TimeLeft:
    """Estimates the seconds that are left, if the rest goes as fast as the work so far.

    Phases that a job does not need, as where an earlier analysis is used, count neither as work
    that is done nor as work that is left.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._phase: Phase = PHASES[0]
        self._fraction = 0.0
        self._skipped = 0.0

    def note(self, phase: Phase, fraction: float) -> None:
        """Note that `fraction` (0 to 1) of the whole is done, within `phase`."""
        before = PHASES.index(self._phase)
        if PHASES.index(phase) > before + 1:
            skipped = STARTS[phase] - STARTS[PHASES[before + 1]]
            passed = STARTS[phase] - STARTS[self._phase]
            # The phases of one of several tries fill a part of the whole only.
            self._skipped += (fraction - self._fraction) * skipped / passed
        self._phase = phase
        self._fraction = fraction

    def seconds(self) -> float | None:
        """Return the seconds that are left; None where too little is done to say."""
        share = self._fraction - self._skipped
        if share < _LEAST_SHARE:
            return None
        elapsed = self._clock() - self._began
        return max(elapsed, 0.0) * (1 - self._fraction) / share
