"""What an engine tells about its steps, and what it is told to do in the next one.

A step runs the target model once over a batch: every decoding request gives one token and the
drafts that are verified with it, prompts may share the step, and at its end the drafter proposes
the drafts of the next step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Protocol


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """The decoding requests that the next step holds."""

    requests: Sequence[str]
    """Names that stay the same for the life of a request."""
    context: int
    """Tokens of all of them in the KV cache."""
    prefill: int = 0
    """Tokens of prompts that are expected to share the step."""
    limits: Sequence[int] | None = None
    """The most drafts that each can use, as when few tokens are left; None: no limit."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is drafted for a batch and what of it is verified."""

    draft_length: int
    """K: tokens that the drafter proposes for each request; 0: it proposes none."""
    verify: Sequence[int]
    """k_i of each request of the batch, in its order; at most K."""
    reason: str
    """One of ``reasons.py``."""
    tokens: float
    """Predicted tokens of the step, drafts that are rejected not counted."""
    seconds: float
    """Predicted length of the step."""

    @property
    def goodput(self) -> float:
        """Predicted tokens per second."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What the length of a step depends on."""

    requests: int
    """Decoding requests."""
    tokens: int
    """Tokens that go through the target model: one a request, drafts, prompts."""
    context: int
    """Tokens in the KV cache of all requests."""
    draft_length: int
    """Tokens that the drafter proposes for each request at the end of the step."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verified:
    """Drafts of one step that were verified; three columns, since a batch has hundreds of rows.

    Requests that had no drafts are left out, and those that finished or were preempted meanwhile.
    """

    requests: Sequence[str] = ()
    drafts: Sequence[int] = ()
    """Of each request, those that a grammar ruled out before not counted."""
    accepted: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.requests)


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A step as it went."""

    work: Work
    seconds: float
    verified: Verified
    generated: int
    """Tokens that all requests got."""
    prefill: int = 0
    """Tokens of prompts in it."""
    asked: float = 0.0
    """Drafts that were to be verified of each decoding request, in the mean."""


class Policy(Protocol):
    """Chooses how far to speculate; called by one thread."""

    def plan(self, batch: Batch) -> Plan:
        """What the next step drafts and verifies."""
        ...

    def observe(self, step: Step) -> None:
        """Learn from a step."""
        ...

    def forget(self, requests: Iterable[str]) -> None:
        """These requests have ended."""
        ...
