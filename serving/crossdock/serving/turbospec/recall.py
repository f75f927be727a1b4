"""Whether speculation that was switched off is tried again, on what was known before.

Where text is easy and hard by turns, a hard stretch switches speculation off, and nothing tells of
its end. So after a while the estimate goes back to what held in the long run. If that says off too,
or what is seen then switches it off again at once, the next try comes after twice the time.
"""

from __future__ import annotations

_FIRST_S = 0.25
_LAST_S = 16.0
_KEPT_UP_S = 0.25
"""Speculation that lasts so long was worth the try."""


class Recall:
    """Counts the time off and on."""

    def __init__(self) -> None:
        self._patience_s = _FIRST_S
        self._off_s = 0.0
        self._on_s = 0.0

    def pass_by(self, seconds: float, length: int) -> bool:
        """Time has passed at this length; True: recall what was known before."""
        if length > 0:
            self._off_s = 0.0
            self._on_s += seconds
            if self._on_s > _KEPT_UP_S:
                self._patience_s = _FIRST_S
            return False
        self._on_s = 0.0
        self._off_s += seconds
        if self._off_s < self._patience_s:
            return False
        self._off_s = 0.0
        self._patience_s = min(2 * self._patience_s, _LAST_S)
        return True
