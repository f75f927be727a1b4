"""What a step takes: the time of the processor, or what a table of measured steps says."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence

import numpy as np

from crossdock.serving.turbospec.cost import CostModel
from crossdock.serving.turbospec.profile import Cell
from crossdock.serving.turbospec.step import Work

_NEAR = 1e-3
"""Distances below it count as this: at a measured step, its time is what counts."""


class Table:
    """Seconds of steps between measured ones.

    The fitted costs are scaled by how far they were off at the measured steps nearby; so the clock
    knows what the cost model of the policies does not.

    Args:
        costs: the fit.
        cells: what it was fitted to.
        drafter_s: what each position costs that is drafted, beside what was measured.
    """

    def __init__(self, costs: CostModel, cells: Sequence[Cell], drafter_s: float = 0.0) -> None:
        self._costs = costs
        self._drafter_s = drafter_s
        self._places = np.log([[c.requests, c.tokens, c.context] for c in cells])
        self._off = np.array([c.seconds / costs.seconds(c.work) for c in cells])
        self.seconds: Callable[[Work], float] = functools.lru_cache(1 << 16)(self._seconds)

    def _seconds(self, work: Work) -> float:
        place = np.log([max(work.requests, 1), max(work.tokens, 1), max(work.context, 1)])
        distances = np.maximum(((self._places - place) ** 2).sum(axis=1), _NEAR)
        weights = 1 / distances**2
        off = float((weights * self._off).sum() / weights.sum())
        return off * self._costs.seconds(work) + self._drafter_s * work.draft_length


class Virtual:
    """A clock that goes on by what each step costs by a table, the same on every machine."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._now = 0.0

    def now(self) -> float:
        """Seconds charged so far."""
        return self._now

    def ran(self, work: Work) -> None:
        """A step has run."""
        if work.tokens > 0:
            self._now += self._table.seconds(work)


class Processor:
    """The time that this process has had a processor: others at work do not count."""

    def now(self) -> float:
        """Seconds."""
        return time.process_time()

    def ran(self, work: Work) -> None:
        """The time has been spent already."""
