"""Chooses how far to draft and what to verify: the most goodput of all lengths, none left out.

For a length K each request may have 0 to K drafts verified. A further draft of a request is worth
the chance that all before it and itself are accepted, which falls with its position, so for any
number of drafts the best ones are those of the highest chance. Over all K and all such numbers the
goodput is compared, and no first decrease ends the search: costs have steps.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from crossdock.serving.turbospec.cost import CostModel, Floats


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
    """Tokens per second, by length."""

    def verify(self, length: int, classes: int) -> np.ndarray:
        """Drafts to verify of a request of each class."""
        positions = len(self.order) // classes
        first = self.order[: self.taken[length]]
        return np.bincount(first[first % positions < length] // positions, minlength=classes)


class Chooser:
    """Searches all plans.

    Args:
        max_draft: the longest length.
        classes: of requests that are treated alike.
        costs: predicts the length of a step.
    """

    def __init__(self, max_draft: int, classes: int, costs: CostModel) -> None:
        self._costs = costs
        self._line = costs.line()
        self._lengths = np.arange(max_draft + 1)
        places = np.arange(classes * max_draft)
        self._class = places // max_draft
        self._within = (places % max_draft < self._lengths[:, None]).astype(float)

    def choices(
        self,
        counts: np.ndarray,
        survival: Floats,
        context: int,
        prefill: int,
        factors: Floats,
    ) -> Choices:
        """The best plan of each length.

        Args:
            counts: requests of each class.
            survival: chance that all drafts up to a position are accepted, (class, position).
            context: tokens in the KV cache.
            prefill: tokens of prompts in the step.
            factors: of the parts of the cost model.
        """
        requests = float(counts.sum())
        chances = survival.ravel()
        order = (-chances).argsort(kind="stable")
        members = counts[self._class[order]]
        within = self._within[:, order]
        # A column of nothing goes first: no draft at all is a plan too.
        grown = np.zeros((2, len(within), len(order) + 1))
        np.cumsum(within * members, axis=1, out=grown[0, :, 1:])
        np.cumsum(within * (members * chances[order]), axis=1, out=grown[1, :, 1:])
        drafts, tokens = grown
        tokens += requests
        fixed, drafting = self._apart_from_tokens(requests, context, factors)
        seconds = np.interp(drafts + (requests + prefill), *self._line)
        seconds *= factors[1]
        seconds += (drafting + fixed)[:, None]
        goodput = tokens / seconds
        taken = goodput.argmax(axis=1)
        rows = self._lengths
        return Choices(
            tokens[rows, taken],
            seconds[rows, taken],
            drafts[rows, taken],
            order,
            taken,
            goodput[rows, taken],
        )

    def token_s(self, tokens: float, more: int, factors: Floats) -> float:
        """Seconds that so many more tokens of the target model would take."""
        before, after = np.interp((tokens, tokens + more), *self._line)
        return float(factors[1] * (after - before))

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
