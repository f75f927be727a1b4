"""TurboSpec's own controller, as its authors published it, for comparison.

One acceptance for all, an average of accepted over drafted that starts at 0.9; every 20 steps the
lengths are tried from 0 upwards until goodput falls, and no speculation is favoured by a tenth
(algorithm and constants from the authors' code; section 4 of arXiv 2406.14066).
"""

from __future__ import annotations

from collections.abc import Iterable

from crossdock.serving.turbospec import reasons
from crossdock.serving.turbospec.cost import CostModel
from crossdock.serving.turbospec.step import Batch, Plan, Step, Work

_FIRST_ACCEPTANCE = 0.9
_KEEP = 0.75
_EVERY_STEPS = 20
_FAVOUR_OFF = 1.1


class PaperController:
    """Their policy.

    Args:
        max_draft: the longest length.
        costs: of the engine.
    """

    def __init__(self, max_draft: int, costs: CostModel) -> None:
        self.acceptance = _FIRST_ACCEPTANCE
        self._max_draft = max_draft
        self._costs = costs
        self._steps = 0
        self._length = 0

    def plan(self, batch: Batch) -> Plan:
        """The length of the last decision, which is made every 20 steps."""
        count = len(batch.requests)
        if self._steps % _EVERY_STEPS == 0 and count > 0:
            self._length = self._decide(batch)
        self._steps += 1
        verify = [self._length] * count
        if batch.limits is not None:
            verify = [min(self._length, limit) for limit in batch.limits]
        tokens, seconds = self._predict(batch, self._length)
        return Plan(self._length, verify, reasons.GOODPUT, tokens, seconds)

    def observe(self, step: Step) -> None:
        """The share of drafts that were accepted."""
        drafts = sum(step.verified.drafts)
        if drafts > 0:
            share = sum(step.verified.accepted) / drafts
            self.acceptance = _KEEP * self.acceptance + (1 - _KEEP) * share

    def forget(self, requests: Iterable[str]) -> None:
        """Nothing is kept of a request."""

    def _predict(self, batch: Batch, length: int) -> tuple[float, float]:
        count, a = len(batch.requests), min(self.acceptance, 0.9999)
        tokens = count * (1 - a ** (length + 1)) / (1 - a)
        verified = count * (1 + length) + batch.prefill
        return tokens, self._costs.seconds(Work(count, verified, batch.context, length))

    def _decide(self, batch: Batch) -> int:
        best, most = 0, 0.0
        for length in range(self._max_draft + 1):
            tokens, seconds = self._predict(batch, length)
            goodput = tokens / seconds * (_FAVOUR_OFF if length == 0 else 1.0)
            if goodput <= most:
                break
            best, most = length, goodput
        return best
