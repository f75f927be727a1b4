"""The length of steps, from one end to the next while the engine is busy.

An engine may schedule a step while the one before it runs, so that only the ends of steps say how
long each took. A step that follows an idle time is measured from the moment it was scheduled.
"""

from __future__ import annotations

import math

GAP_S_MAX = 1.0
"""A longer time between an end and the next step is a pause, whatever the engine says."""
STEP_S_MAX = 60.0
"""A longer step is a clock that jumped or a machine that slept."""


class Stopwatch:
    """Measures steps from what the engine tells; knows no clock."""

    def __init__(self) -> None:
        self._end: float | None = None
        self.strange = 0
        """Steps in a row that had no length, a negative one, or one that cannot be."""

    def begin(self, now: float) -> None:
        """A step is scheduled."""
        end = self._end
        if end is None or not 0 <= now - end <= GAP_S_MAX:
            self._end = now

    def end(self, now: float, busy: bool) -> float | None:
        """The length of the step that has ended; None where it cannot be told."""
        start, self._end = self._end, now if busy and math.isfinite(now) else None
        seconds = math.nan if start is None else now - start
        if 0 < seconds <= STEP_S_MAX:
            self.strange = 0
            return seconds
        self.strange += 1
        return None
