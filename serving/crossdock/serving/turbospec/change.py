"""Tells when acceptance has changed, from as few drafts as that takes: Page's cumulative sums.

Each outcome adds the logarithm of how much likelier it is at four times the odds than at the
estimate, and in a second sum at a fourth of the odds; a sum that falls below zero begins anew. When
one is high enough, what was counted since it began is of a new law. (E. S. Page, "Continuous
inspection schemes", Biometrika 41, 1954.)
"""

from __future__ import annotations

import math

import numpy as np

from crossdock.serving.turbospec.cost import Floats

_ODDS = 4.0
_ALARM = 6.0
"""Outcomes are e^6 = 400 times likelier after a change."""
_SUSPICION = 1.0


class Change:
    """Watches for both directions.

    Args:
        positions: that a draft may have.
    """

    def __init__(self, positions: int) -> None:
        self._sums = [0.0, 0.0]
        self._since = np.zeros((2, 2, positions))

    @property
    def suspected(self) -> bool:
        """Whether more drafts seem to be accepted than was thought, though it is not sure yet."""
        return self._sums[0] > _SUSPICION

    def observe(self, good: np.ndarray, bad: np.ndarray, expected: Floats) -> Floats | None:
        """Outcomes of one step, of classes of requests that differ.

        Args:
            good: accepted, (class, position).
            bad: rejected, (class, position).
            expected: chance of acceptance, (class, position).

        Returns:
            What was counted since the change, (accepted or rejected, position); None without one.
        """
        outcomes = None
        for way, odds in enumerate((_ODDS, 1 / _ODDS)):
            # p1 / p0 = odds * q and (1 - p1) / (1 - p0) = q
            q = -np.log1p(expected * (odds - 1))
            self._sums[way] += float((good * (q + math.log(odds)) + bad * q).sum())
            if self._sums[way] <= 0:
                self._sums[way] = 0.0
                self._since[way] = 0.0
            else:
                if outcomes is None:
                    outcomes = np.stack((good.sum(axis=0), bad.sum(axis=0)))
                self._since[way] += outcomes
        if max(self._sums) < _ALARM:
            return None
        found: Floats = self._since[int(np.argmax(self._sums))].copy()
        self._sums = [0.0, 0.0]
        self._since[:] = 0.0
        return found
