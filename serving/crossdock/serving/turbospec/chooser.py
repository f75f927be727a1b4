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

_AHEAD = 16.0
"""Tokens over which the cost of one more is averaged."""


@dataclasses.dataclass(frozen=True, slots=True)
class Choices:
    """The best plan of each length, 0 to the longest."""

    tokens: Floats
    """Predicted tokens of a step, by length."""
    seconds: Floats
    """Predicted length of a step, by length."""
    verify: np.ndarray
    """Drafts to verify of a request of each class, (length, class)."""
    token_s: Floats
    """What one more token of the target model would cost, by length."""

    @property
    def goodput(self) -> Floats:
        """Tokens per second, by length."""
        return self.tokens / self.seconds


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
        self._place_class = np.repeat(np.arange(classes), max_draft)
        self._place_position = np.tile(np.arange(max_draft), classes)
        self._within = self._place_position[None, :] < self._lengths[:, None]

    def choices(
        self,
        counts: Floats,
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
        costs, requests = self._costs, float(counts.sum())
        order = np.argsort(-survival, axis=None, kind="stable")
        members = counts[self._place_class[order]]
        taken = np.where(self._within[:, order], members, 0.0)
        drafts = np.zeros((len(self._lengths), len(order) + 1))
        np.cumsum(taken, axis=1, out=drafts[:, 1:])
        tokens = np.zeros_like(drafts)
        np.cumsum(taken * survival.ravel()[order], axis=1, out=tokens[:, 1:])
        tokens += requests
        common = costs.step_s + costs.request_s * requests
        fixed = factors[0] * common + factors[2] * costs.context_s * context
        each = costs.draft_token_s + costs.draft_request_s * requests
        drafting = factors[3] * (costs.draft_s * (self._lengths > 0) + self._lengths * each)
        target = np.interp(drafts + (requests + prefill), *self._line)
        seconds = factors[1] * target + (fixed + drafting)[:, None]
        best = np.argmax(tokens / seconds, axis=1)
        rows = self._lengths
        beyond = drafts[rows, best] + (requests + prefill + _AHEAD)
        more_s = factors[1] * (np.interp(beyond, *self._line) - target[rows, best])
        return Choices(
            tokens[rows, best], seconds[rows, best], self._verify(order, best), more_s / _AHEAD
        )

    def _verify(self, order: np.ndarray, best: np.ndarray) -> np.ndarray:
        """Drafts of each class among the first ``best`` of the order, (length, class)."""
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        classes = len(order) // (len(self._lengths) - 1)
        chosen = (rank[None, :] < best[:, None]) & self._within
        counts: np.ndarray = chosen.reshape(len(best), classes, -1).sum(axis=2)
        return counts
