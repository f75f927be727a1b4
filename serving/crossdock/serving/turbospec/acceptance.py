"""Which drafts will be accepted: estimates for all requests by position, and for each request.

A request stops at its first rejection, so drafts behind it were never judged. Of those that were,
A were accepted and R rejected, and A / (A + R) is the maximum-likelihood estimate of the chance
that a draft is accepted once all before it are (a geometric law, truncated at the number of
drafts). The share of accepted among all drafts, which TurboSpec averages, is not: at a chance of
0.8 and five drafts it reads 0.54.
"""

from __future__ import annotations

import numpy as np

from crossdock.serving.turbospec.change import Change
from crossdock.serving.turbospec.cost import Floats
from crossdock.serving.turbospec.requests import Slots
from crossdock.serving.turbospec.step import Verified

_PRIOR_CHANCE = 0.5
_PRIOR_WEIGHT = 4.0
"""Before anything is seen a draft is as likely to be accepted as not."""
_POSITION_WEIGHT = 8.0
"""Outcomes by which a position is drawn to the mean of all positions."""
_LEAST_WEIGHT, _MOST_WEIGHT = 6.0, 400.0
"""The same of a request to all requests, when requests differ most and least."""
_JUDGED = 4.0
"""Outcomes from which on a request tells how requests differ."""
_KEPT = 8.0
"""Outcomes that an estimate still counts for when acceptance has changed."""
_LIKENESS_EVERY = 8
_LIKENESS_STEP = 0.4
"""How often, in plans, and how fast the likeness of requests is followed."""
_PAST = 10.0
"""How many times as many outcomes are remembered for what held in the long run."""
_FADED = 0.3
"""What is left of the outcomes of a request when acceptance has changed for all."""
_EDGE = 0.002
"""Chances stay so far from 0 and 1."""
_EDGES = np.array((0.3, 0.5, 0.65, 0.77, 0.86, 0.92, 0.96))
CLASSES = len(_EDGES) + 1
"""Requests of like chances are counted together; there are so many classes."""


class Acceptance:
    """What is known of drafts so far.

    Args:
        max_draft: positions that a draft may have.
        memory: outcomes that the estimate for all requests rests on.
        request_memory: the same of a single request.
    """

    def __init__(self, max_draft: int, memory: float, request_memory: float) -> None:
        self._memory = memory
        self._request_memory = request_memory
        self.accepted: Floats = np.zeros(max_draft)
        """Weight of accepted outcomes by position; old ones fade."""
        self.rejected: Floats = np.zeros(max_draft)
        self.change = Change(max_draft)
        self._past: Floats = np.zeros((2, max_draft))
        self._expected: Floats = np.zeros((CLASSES, max_draft))
        self._chance = _PRIOR_CHANCE
        self._request_weight = _MOST_WEIGHT / 4
        self._calls = 0
        self.slots = Slots()

    @property
    def chance(self) -> float:
        """That a draft is accepted once all before it are; all requests and positions."""
        return self._chance

    def observe(self, verified: Verified) -> None:
        """Drafts of one step."""
        if len(verified) == 0:
            return
        drafts = np.array(verified.drafts)
        accepted = np.array(verified.accepted)
        missed = accepted < drafts
        slots = self.slots.of(verified.requests)
        good, bad = self._table(slots, accepted, missed)
        judged = float(good.sum() + bad.sum())
        changed = self.change.observe(good, bad, self._expected)
        good, bad = good.sum(axis=0), bad.sum(axis=0)
        if changed is not None:
            self._change(changed - (good, bad))
        keep = max(0.0, 1.0 - judged / self._memory)
        self.accepted = self.accepted * keep + good
        self.rejected = self.rejected * keep + bad
        self._past = self._past * max(0.0, 1.0 - judged / (self._memory * _PAST)) + (good, bad)
        self._sum_up()
        self.slots.add(slots, accepted, missed, self._request_memory)

    def recall(self) -> None:
        """Go back to what held in the long run, as no more than a guess."""
        keep = min(1.0, _KEPT / max(float(self._past.sum()), 1e-9))
        self.accepted, self.rejected = self._past * keep
        self._sum_up()

    def _sum_up(self) -> None:
        a, r = self.accepted.sum(), self.rejected.sum()
        self._chance = float((a + _PRIOR_CHANCE * _PRIOR_WEIGHT) / (a + r + _PRIOR_WEIGHT))

    def _table(
        self, slots: np.ndarray, accepted: np.ndarray, missed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Accepted and rejected drafts, (class, position), and what was expected of them.

        A draft longer than foreseen adds to no position, but to its request.
        """
        positions = len(self.accepted)
        chances = self.of_requests(slots)
        classes = classes_of(chances)
        ends = classes * (positions + 1) + np.minimum(accepted, positions)
        size = CLASSES * (positions + 1)
        reached = np.bincount(ends, minlength=size).reshape(CLASSES, -1)
        good = reached[:, ::-1].cumsum(axis=1)[:, -2::-1]
        bad = np.bincount(ends[missed], minlength=size).reshape(CLASSES, -1)[:, :-1]
        sums = np.bincount(classes, weights=chances, minlength=CLASSES)
        of_classes = (sums + _EDGE) / (reached.sum(axis=1) + 2 * _EDGE)
        self._expected = conditional(of_classes, self.by_position(), self._chance)
        return good, bad

    def _change(self, since: Floats) -> None:
        """Go on from what was seen since the change."""
        seen = float(self.accepted.sum() + self.rejected.sum())
        keep = min(1.0, _KEPT / max(seen, 1e-9))
        self.accepted = self.accepted * keep + since[0]
        self.rejected = self.rejected * keep + since[1]
        self.slots.fade(_FADED)

    def by_position(self) -> Floats:
        """Chance of each position, drawn to the mean of all where little was seen."""
        seen = self.accepted + self.rejected
        pulled = self.accepted + _POSITION_WEIGHT * self._chance
        chances: Floats = pulled / (seen + _POSITION_WEIGHT)
        return chances

    def of_requests(self, slots: np.ndarray) -> Floats:
        """Chance of each request, drawn to that of all as far as requests are alike."""
        good, bad = self.slots.good[slots], self.slots.bad[slots]
        seen = good + bad
        self._calls += 1
        if self._calls % _LIKENESS_EVERY == 0:
            self._see_likeness(good, seen)
        weight = self._request_weight
        chances: Floats = (good + weight * self._chance) / (seen + weight)
        return chances

    def _see_likeness(self, good: Floats, seen: Floats) -> None:
        judged = seen >= _JUDGED
        if np.count_nonzero(judged) >= 4:
            likeness = self._likeness(good, seen, judged)
            self._request_weight += _LIKENESS_STEP * (likeness - self._request_weight)

    def _likeness(self, good: Floats, seen: Floats, judged: np.ndarray) -> float:
        """The weight of the common chance for which requests scatter as they do.

        By moments: what chances scatter more than coins of one chance would is the variance of a
        beta law, whose weight is mean * (1 - mean) / variance - 1.
        """
        n = seen[judged]
        rates = good[judged] / n
        mean = min(max(float(rates.mean()), _EDGE), 1 - _EDGE)
        coin = mean * (1 - mean)
        between = float(((rates - mean) ** 2).mean()) - coin * float((1 / n).mean())
        if between <= coin / (_MOST_WEIGHT + 1):
            return _MOST_WEIGHT
        return min(max(coin / between - 1, _LEAST_WEIGHT), _MOST_WEIGHT)


def conditional(chances: Floats, positions: Floats, mean: float) -> Floats:
    """Chance that a draft is accepted once all before it are, (request or class, position).

    The odds of a position are scaled by those of the request, so that a chance stays one.
    """
    own = chances / (1 - chances) * ((1 - mean) / mean)
    odds = own[:, None] * (positions / (1 - positions))
    scaled: Floats = odds / (1 + odds)
    return scaled


def survival(chances: Floats, positions: Floats, mean: float) -> Floats:
    """Chance that all drafts up to a position are accepted, (request or class, position)."""
    return np.cumprod(conditional(chances, positions, mean), axis=1, dtype=np.float64)


def classes_of(chances: Floats) -> np.ndarray:
    """The class of each chance; fine where chances are high, since there they matter most."""
    return _EDGES.searchsorted(chances)
