"""Corrects a cost model by what steps really take: one factor for each of its parts.

A Kalman filter over the factors, on relative times. Their uncertainty grows with each step and is
bounded by that of the start, so that old steps are forgotten, but what is not seen is not lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul

import numpy as np

from crossdock.serving.turbospec.cost import PARTS, CostModel, Floats
from crossdock.serving.turbospec.step import Work

_DRIFT = 2e-4
"""Growth of the variance of a factor a step, as a part of that of the start."""
_NOISE = 0.08
"""Scatter of a step's time, relative."""
_OUTLIER = 3.0
"""A step is believed up to so many standard deviations: a pause must not become a cost."""
_LOWEST, _HIGHEST = 0.02, 100.0
PROFILED = (0.3, 0.3, 0.3, 0.3)
"""How far the factors may be off at the start, relative (standard deviation)."""
ROUGH = (0.5, 10.0, 10.0, 3.0)
"""The same where nothing was profiled."""


class Correction:
    """The factors of the parts of one cost model.

    Plain lists of four numbers: arrays would take several times as long.

    Args:
        spread: how far they may be off at the start.
    """

    def __init__(self, costs: CostModel, spread: Sequence[float]) -> None:
        self._costs = costs
        self._most = [s * s for s in spread]
        self._factors = [1.0] * len(PARTS)
        self._covariance = [
            [variance if i == j else 0.0 for j in range(len(PARTS))]
            for i, variance in enumerate(self._most)
        ]

    @property
    def factors(self) -> Floats:
        """By how much each part is off, as far as is known."""
        return np.array(self._factors)

    def observe(self, work: Work, seconds: float) -> None:
        """A step took so long; a time that is no positive number is not believed."""
        if not (math.isfinite(seconds) and seconds > 0):
            return
        parts = self._costs.parts(work)
        total = sum(parts)
        shares = [part / total for part in parts]
        for i, most in enumerate(self._most):
            self._covariance[i][i] += _DRIFT * most
        seen = [sum(map(mul, row, shares)) for row in self._covariance]
        predicted = sum(map(mul, shares, self._factors))
        noise = _NOISE * predicted
        variance = sum(map(mul, shares, seen)) + noise * noise
        bound = _OUTLIER * math.sqrt(variance)
        surprise = min(max(seconds / total - predicted, -bound), bound)
        for i, known in enumerate(seen):
            gain = known / variance
            moved = self._factors[i] + gain * surprise
            self._factors[i] = min(max(moved, _LOWEST), _HIGHEST)
            row = self._covariance[i]
            self._covariance[i] = [p - gain * s for p, s in zip(row, seen, strict=True)]
        self._bound()

    def _bound(self) -> None:
        """A part that was long not seen is as uncertain as at the start, but no more."""
        for i, most in enumerate(self._most):
            variance = self._covariance[i][i]
            if variance > most:
                excess = math.sqrt(most / variance)
                for j in range(len(PARTS)):
                    self._covariance[i][j] *= excess
                    self._covariance[j][i] *= excess
