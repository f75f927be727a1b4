"""Corrects a cost model by what steps really take: one factor for each of its parts.

A Kalman filter over the factors, on relative times. Their uncertainty grows with each step and is
bounded by that of the start, so that old steps are forgotten, but what is not seen is not lost.
"""

from __future__ import annotations

import math

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
PROFILED: Floats = np.array((0.3, 0.3, 0.3, 0.3))
"""How far the factors may be off at the start, relative (standard deviation)."""
ROUGH: Floats = np.array((0.5, 10.0, 10.0, 3.0))
"""The same where nothing was profiled."""


class Correction:
    """The factors of the parts of one cost model.

    Args:
        spread: how far they may be off at the start.
    """

    def __init__(self, costs: CostModel, spread: Floats) -> None:
        self._costs = costs
        self._most = spread * spread
        self.factors: Floats = np.ones(len(PARTS))
        self._covariance: Floats = np.diag(self._most)

    def observe(self, work: Work, seconds: float) -> None:
        """A step took so long; a time that is no positive number is not believed."""
        if not (math.isfinite(seconds) and seconds > 0):
            return
        parts = self._costs.parts(work)
        shares = parts / parts.sum()
        self._covariance[np.diag_indices(len(PARTS))] += _DRIFT * self._most
        seen = self._covariance @ shares
        predicted = float(shares @ self.factors)
        noise = _NOISE * predicted
        variance = float(shares @ seen) + noise * noise
        surprise = seconds / float(parts.sum()) - predicted
        bound = _OUTLIER * math.sqrt(variance)
        surprise = min(max(surprise, -bound), bound)
        gain = seen / variance
        self.factors = np.clip(self.factors + gain * surprise, _LOWEST, _HIGHEST)
        self._covariance -= np.outer(gain, seen)
        # A part that was long not seen is as uncertain as at the start, but no more.
        excess = np.sqrt(np.minimum(1.0, self._most / self._covariance.diagonal()))
        self._covariance *= np.outer(excess, excess)
