"""When the length changes: at once for a large gain, after a while for a small one."""

from __future__ import annotations

from collections.abc import Sequence


class Switch:
    """The length in use.

    Args:
        gain: for which it changes at once, relative.
        hold_s: how long some other length must have been better.
    """

    def __init__(self, gain: float, hold_s: float) -> None:
        self.length = 0
        self._gain = gain
        self._hold_s = hold_s
        self._better_s = 0.0

    def pass_by(self, seconds: float) -> None:
        """Time has passed."""
        self._better_s += seconds

    def to(self, length: int) -> int:
        """Change whatever it costs."""
        self.length = length
        self._better_s = 0.0
        return length

    def choose(self, worth: Sequence[float]) -> tuple[int, bool]:
        """The length to use, and whether a better one was held back.

        Args:
            worth: of each length; 0: it must not be used.
        """
        best = worth.index(max(worth))
        if best == self.length:
            return self.to(best), False
        if worth[best] < worth[self.length] * (1 + self._gain) and self._better_s < self._hold_s:
            return self.length, True
        return self.to(best), False
