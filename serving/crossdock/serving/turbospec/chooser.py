"""Chooses how far to draft and what to verify: the most goodput of all lengths, none left out.

For a length K each request may have 0 to K drafts verified. A further draft of a request is worth
the chance that all before it and itself are accepted, which falls with its position, so for any
number of drafts the best ones are those of the highest chance. Over all K and all such numbers the
goodput is compared, and no first decrease ends the search: costs have steps.

A request computes its prompt once, whatever is chosen. So what the prompts that wait add to a step
without drafts is not counted, or such a step would make drafts look cheap; what drafts cost beside
them is. And prompts that are not known yet come in proportion to the tokens that requests get: the
sooner answers end, the sooner others begin.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from crossdock.serving.turbospec.cost import CostModel, Floats
from crossdock.serving.turbospec.prompts import Expected

_BETWEEN = 16
"""Numbers of tokens between those of the cost model at which it is looked up beside prompts."""


@dataclasses.dataclass(frozen=True, slots=True)
class Choices:
    """The best plan of each length, 0 to the longest."""

    tokens: Floats
    """Predicted tokens of a step, by length."""
    seconds: Floats
    """Predicted length of a step, by length."""
    drafts: Floats
    """Drafts that are verified, by length."""
    order: np.ndarray
    """Classes and positions, flat, as they are taken; a position only by a length that has it."""
    taken: np.ndarray
    """How far in the order each length takes them."""
    goodput: Floats
    """Tokens per second that prompts do not take, by length."""
    worth: Floats
    """The same; where a request would have to wait longer for a token than is allowed, how long
    the slowest would, below zero."""

    def verify(self, length: int, classes: int) -> np.ndarray:
        """Drafts to verify of a request of each class."""
        positions = len(self.order) // classes
        first = self.order[: self.taken[length]]
        return np.bincount(first[first % positions < length] // positions, minlength=classes)


class Chooser:
    """Searches all plans.

    Args:
        max_draft: the longest length.
        classes: the most classes of requests that are treated alike.
        costs: predicts the length of a step.
        time_per_token_s: that no request may exceed, in the mean; None: no bound.
    """

    def __init__(
        self,
        max_draft: int,
        classes: int,
        costs: CostModel,
        time_per_token_s: float | None = None,
    ) -> None:
        self._bound_s = time_per_token_s
        self._costs = costs
        self._line = costs.line()
        knots = self._line[0]
        # Beside prompts the line bends elsewhere than at its knots.
        between = np.geomspace(1, knots[-2], _BETWEEN)
        self._places: Floats = np.union1d(knots, between)
        self.expect(Expected(0, (), 1.0))
        self._lengths = np.arange(max_draft + 1)
        # By the number of classes that are present: of each place in the order its class, and
        # whether each length has its position.
        self._layouts = [self._layout(present, max_draft) for present in range(classes + 1)]

    def expect(self, prompts: Expected) -> None:
        """Prompts that share the next steps."""
        self._known = prompts.known
        self._beside: Floats | None = None
        more = np.array([tokens for tokens in prompts.recent if tokens > prompts.known], float)
        if len(more) > 0:
            alone = np.interp(self._places + prompts.known, *self._line)
            beside = np.interp(self._places + more[:, None], *self._line) - alone
            self._beside = beside.sum(axis=0) / (len(prompts.recent) * prompts.generated)

    def _layout(self, classes: int, max_draft: int) -> tuple[np.ndarray, Floats]:
        places = np.arange(classes * max_draft)
        within = places % max_draft < self._lengths[:, None]
        return places // max_draft, within.astype(float)

    def choices(
        self,
        counts: np.ndarray,
        survival: Floats,
        context: int,
        factors: Floats,
        fill: float = 1.0,
    ) -> Choices:
        """The best plan of each length.

        Args:
            counts: requests of each class that has any.
            survival: chance that all drafts up to a position are accepted, (class, position).
            context: tokens in the KV cache.
            factors: of the parts of the cost model.
            fill: share of the drafts that are asked for that the drafter has.
        """
        requests = float(counts.sum())
        chances = survival.ravel()
        order = (-chances).argsort(kind="stable")
        classes, within = self._layouts[len(counts)]
        classes, within = classes[order], within[:, order]
        members = counts[classes] * fill
        # A column of nothing goes first: no draft at all is a plan too.
        grown = np.zeros((2, len(within), len(order) + 1))
        np.cumsum(within * members, axis=1, out=grown[0, :, 1:])
        np.cumsum(within * (members * chances[order]), axis=1, out=grown[1, :, 1:])
        drafts, tokens = grown
        tokens += requests
        fixed, drafting = self._apart_from_tokens(requests, context, factors)
        through = drafts + requests
        seconds = np.interp(through + self._known, *self._line)
        if self._beside is not None:
            seconds += tokens * np.interp(through, self._places, self._beside)
        seconds *= factors[1]
        seconds += (drafting + fixed)[:, None]
        goodput = tokens / (seconds - self._known_s(requests, factors))
        worth = goodput
        if self._bound_s is not None:
            slowest = seconds / _fewest_tokens(len(counts), classes, within, fill * chances[order])
            worth = np.where(slowest <= self._bound_s, goodput, -slowest)
        taken = worth.argmax(axis=1)
        rows = self._lengths
        of_drafts, of_tokens = grown[:, rows, taken]
        of_seconds = seconds[rows, taken]
        of_worth = worth[rows, taken]
        of_goodput = of_worth if worth is goodput else goodput[rows, taken]
        return Choices(of_tokens, of_seconds, of_drafts, order, taken, of_goodput, of_worth)

    def token_s(self, tokens: float, more: int, factors: Floats) -> float:
        """Seconds that so many more tokens of the target model would take."""
        before, after = np.interp((tokens, tokens + more), *self._line)
        return float(factors[1] * (after - before))

    def _known_s(self, requests: float, factors: Floats) -> float:
        """What known prompts add to a step without drafts."""
        if self._known == 0:
            return 0.0
        alone, beside = np.interp((requests, requests + self._known), *self._line)
        return float(factors[1] * (beside - alone))

    def _apart_from_tokens(
        self, requests: float, context: int, factors: Floats
    ) -> tuple[float, Floats]:
        """Seconds of the engine and the context, and of drafting by length."""
        costs = self._costs
        engine = factors[0] * (costs.step_s + costs.request_s * requests)
        first = factors[3] * (costs.draft_s + costs.draft_first_request_s * requests)
        each = factors[3] * (costs.draft_token_s + costs.draft_request_s * requests)
        drafting = first + (self._lengths - 1) * each
        drafting[0] = 0.0
        return float(engine + factors[2] * costs.context_s * context), drafting


def _fewest_tokens(count: int, classes: np.ndarray, within: Floats, chances: Floats) -> Floats:
    """Tokens that a request of the least lucky class gets, (length, drafts of the order)."""
    own = (classes == np.arange(count)[:, None]) * chances
    tokens = np.ones((count, len(within), len(chances) + 1))
    tokens[:, :, 1:] += np.cumsum(within * own[:, None, :], axis=2)
    fewest: Floats = tokens.min(axis=0)
    return fewest
