"""Costs where nothing was profiled: a fit to the steps that were served.

The first guess knows one slope for all tokens, and a correction scales it as a whole; but a target
model costs the same until its arithmetic outweighs the reading of weights, and more from then on.
So the model is fitted anew to what was seen, at ever longer distances. What was not seen stays as
it was thought to be.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from crossdock.serving.turbospec import fitting
from crossdock.serving.turbospec.cost import CostModel
from crossdock.serving.turbospec.step import Work

_OFTEN = 32
"""Steps from one fit to the next at first."""
_SELDOM = 512
"""The same after many; a fit takes a millisecond or two."""
_SLOWER = 16
"""In between, the share of all steps so far."""
_CELLS = 512
"""Kinds of work that are kept; the one that was not seen for longest goes first."""
_REMEMBERED = 16
"""Steps that the mean of a kind rests on."""
_BELIEF = 0.05
"""Weight of what was thought of a kind of work, against that of one step that was seen."""
_RATIO = {"tokens": 1.08, "requests": 1.2, "context": 1.6}
"""How far works of one kind are apart at most."""


@dataclasses.dataclass(slots=True)
class _Cell:
    """Sums over steps of one kind; old ones fade."""

    count: float = 0.0
    requests: float = 0.0
    tokens: float = 0.0
    context: float = 0.0
    log_s: float = 0.0

    def add(self, work: Work, seconds: float) -> None:
        self.count = min(self.count + 1, _REMEMBERED)
        share = 1 / self.count
        self.requests += share * (work.requests - self.requests)
        self.tokens += share * (work.tokens - self.tokens)
        self.context += share * (work.context - self.context)
        self.log_s += share * (math.log(seconds) - self.log_s)


class Learning:
    """Remembers steps, and fits.

    Args:
        max_draft: the longest length.
    """

    def __init__(self, max_draft: int) -> None:
        import scipy.optimize  # noqa: F401  # now, and not while steps wait for the first fit

        self._max_draft = max_draft
        self._cells: dict[tuple[int, ...], _Cell] = {}
        self._steps = 0
        self._next = _OFTEN

    def saw(self, work: Work, seconds: float) -> bool:
        """A step took so long, a positive number; True: a fit is due."""
        key = (work.draft_length, *(_bin(name, getattr(work, name)) for name in _RATIO))
        cell = self._cells.pop(key, None) or _Cell()
        self._cells[key] = cell  # the last one now
        if len(self._cells) > _CELLS:
            del self._cells[next(iter(self._cells))]
        cell.add(work, seconds)
        self._steps += 1
        if self._steps < self._next:
            return False
        self._next += min(max(self._steps // _SLOWER, _OFTEN), _SELDOM)
        return True

    def costs(self, believed: CostModel, factors: Sequence[float]) -> CostModel | None:
        """The fit; None where it does not converge.

        Args:
            believed: the model in use.
            factors: of its parts.
        """
        samples, weights = [], []
        for (length, *_), cell in self._cells.items():
            work = Work(round(cell.requests), round(cell.tokens), round(cell.context), length)
            samples.append((work, math.exp(cell.log_s)))
            weights.append(math.sqrt(cell.count))
        for work in self._imagined():
            parts = zip(believed.parts(work), factors, strict=True)
            samples.append((work, sum(part * factor for part, factor in parts)))
            weights.append(_BELIEF)
        try:
            return fitting.fit_weighted(samples, weights)
        except RuntimeError:  # of scipy's least squares
            return None

    def _imagined(self) -> list[Work]:
        """Works of every length, and of batches from one request to twice as many as were seen."""
        requests = max(max(cell.requests for cell in self._cells.values()), 1.0)
        tokens = max(cell.tokens for cell in self._cells.values())
        context = max(cell.context for cell in self._cells.values()) / requests
        batches = {1, *(max(1, round(requests * share)) for share in (0.25, 0.5, 1.0, 2.0))}
        works = [
            Work(count, count * (1 + length), round(count * context * share), length)
            for count in sorted(batches)
            for length in range(self._max_draft + 1)
            for share in (0.0, 1.0)
        ]
        return [*works, Work(1, round(2 * tokens), 0, 0)]


def _bin(name: str, value: float) -> int:
    return round(math.log(max(value, 1.0)) / math.log(_RATIO[name]))
