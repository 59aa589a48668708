"""The time that a job's work takes yet, from the work that is done."""

import time
from collections.abc import Callable

from convpress.phases import PHASES, Phase

# Before that a small piece of the work would speak for all of it.
_LEAST_SHARE = 0.04
# Shorter jobs are over before a figure could be read, and their phases have other shares.
_LEAST_SECONDS = 5.0


class TimeLeft:
    """Estimates the seconds that are left, if the rest goes as fast as the work so far.

    Loading does not count: most of it is the start of a process, and says nothing of the rest.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._noted = clock()
        self._phase: Phase = PHASES[0]
        self._fraction = 0.0
        self._seconds = 0.0
        self._share = 0.0

    def note(self, phase: Phase, fraction: float) -> None:
        """Note that `fraction` (0 to 1) of the whole is done, within `phase`."""
        self._seconds += self._since_noted()
        self._noted = self._clock()
        if self._phase != PHASES[0]:
            self._share += fraction - self._fraction
        self._phase = phase
        self._fraction = fraction

    def seconds(self) -> float | None:
        """Return the seconds that are left; None where too little is done to say.

        It is None too where all of the work seems to take a few seconds.
        """
        if self._share < _LEAST_SHARE:
            return None
        elapsed = self._seconds + self._since_noted()
        left = elapsed * (1 - self._fraction) / self._share
        if elapsed + left < _LEAST_SECONDS:
            return None
        return left

    def _since_noted(self) -> float:
        """Return the seconds of work since the last note."""
        if self._phase == PHASES[0]:
            return 0.0
        return max(self._clock() - self._noted, 0.0)
