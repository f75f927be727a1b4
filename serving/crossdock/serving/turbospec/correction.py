"""Corrects a cost model by what steps really take: one factor for each of its parts.

``serving/csrc/correction.h`` says how.
"""

from __future__ import annotations

from collections.abc import Sequence

from crossdock.serving.turbospec.cost import CostModel
from crossdock.serving.turbospec.step import Work

PROFILED = (0.3, 0.3, 0.3, 0.3)
"""How far the factors may be off at the start, relative (standard deviation)."""
ROUGH = (0.5, 10.0, 10.0, 3.0)
"""The same where nothing was profiled."""


class Correction:
    """The factors of the parts of one cost model.

    Args:
        spread: how far they may be off at the start.
    """

    def __init__(self, costs: CostModel, spread: Sequence[float]) -> None:
        from crossdock.serving import _native

        self._costs = costs
        self._core = _native.Correction(tuple(spread))

    @property
    def factors(self) -> tuple[float, ...]:
        """By how much each part is off, as far as is known."""
        return tuple(self._core.factors)

    def observe(self, work: Work, seconds: float) -> None:
        """A step took so long; a time that is no positive number is not believed."""
        self._core.observe(self._costs.parts(work), seconds)
