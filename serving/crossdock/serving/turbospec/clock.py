"""What the length of a step is measured with."""

from __future__ import annotations

import time
from typing import Protocol

from crossdock.serving.turbospec.step import Work


class Clock(Protocol):
    """Time as it passes for the steps of an engine."""

    def now(self) -> float:
        """Seconds from some moment on."""
        ...

    def ran(self, work: Work) -> None:
        """A step with this work has just run: a virtual clock goes on by its cost."""
        ...


class WallClock:
    """The time of the machine."""

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.perf_counter()

    def ran(self, work: Work) -> None:
        """Time has passed by itself."""
