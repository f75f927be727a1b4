"""Chooses how far to draft and what to verify: the most goodput of all lengths, none left out.

``serving/csrc/chooser.h`` says how.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from crossdock.serving.turbospec.cost import CostModel, Floats
from crossdock.serving.turbospec.prompts import Expected

if TYPE_CHECKING:
    from crossdock.serving import _native


@dataclasses.dataclass(frozen=True, slots=True)
class Choices:
    """The best plan of each length, 0 to the longest; the next decision is written over it."""

    tokens: Floats
    """Predicted tokens of a step, by length."""
    seconds: Floats
    """Predicted length of a step, by length."""
    drafts: Floats
    """Drafts that are verified, by length."""
    goodput: Floats
    """Tokens per second that prompts do not take, by length."""
    worth: Floats
    """The same; where a request would have to wait longer for a token than is allowed, how long
    the slowest would, below zero."""


class Chooser:
    """Searches all plans.

    Args:
        max_draft: the longest length.
        costs: predicts the length of a step.
        time_per_token_s: that no request may exceed, in the mean; None: no bound.
    """

    def __init__(
        self, max_draft: int, costs: CostModel, time_per_token_s: float | None = None
    ) -> None:
        from crossdock.serving import _native

        bound = np.inf if time_per_token_s is None else time_per_token_s
        self._core = _native.Chooser(max_draft, _costs(costs), bound)
        found = self._core.choices
        names = [field.name for field in dataclasses.fields(Choices)]
        self._choices = Choices(**{name: getattr(found, name) for name in names})

    def expect(self, prompts: Expected) -> None:
        """Prompts that share the next steps."""
        self._core.expect(prompts.known, prompts.recent, prompts.generated)

    def choices(
        self,
        groups: _native.Groups,
        context: float,
        factors: tuple[float, ...],
        fill: float = 1.0,
    ) -> Choices:
        """The best plan of each length.

        Args:
            groups: requests of like chances, see ``Acceptance.groups``.
            context: tokens in the KV cache.
            factors: of the parts of the cost model.
            fill: share of the drafts that are asked for that the drafter has.

        Raises:
            ValueError: there is no request.
        """
        self._core.choose(groups, context, factors, fill)
        return self._choices

    def verify(self, length: int, groups: _native.Groups) -> npt.NDArray[np.int64]:
        """Drafts to verify of each request of the groups that were given last."""
        drafts = np.empty(groups.requests, np.int64)
        self._core.verify(length, groups, drafts)
        return drafts

    def token_s(self, tokens: float, more: float, factors: tuple[float, ...]) -> float:
        """Seconds that so many more tokens of the target model would take."""
        return self._core.more_tokens_s(tokens, more, factors[1])


def within(drafts: npt.NDArray[np.int64], limits: Sequence[int] | None) -> list[int]:
    """The drafts of each request, none of them above its limit."""
    from crossdock.serving import _native

    return _native.at_most(drafts, limits)


def _costs(costs: CostModel) -> _native.Costs:
    from crossdock.serving import _native

    made = _native.Costs()
    for name in (
        "step_s",
        "request_s",
        "context_s",
        "draft_s",
        "draft_first_request_s",
        "draft_token_s",
        "draft_request_s",
    ):
        setattr(made, name, getattr(costs, name))
    made.knots, made.knots_s = (line.tolist() for line in costs.line())
    return made
