"""The log of decisions: JSON lines, one for each stretch of steps under the same decision.

A stretch ends when the length or its reason changes, after a second, or when the engine has nothing
to do. Fields of a line:

| field | holds |
|---|---|
| ``time`` | when the stretch ended, seconds since 1970 |
| ``rank`` | data-parallel rank |
| ``steps`` | steps in the stretch |
| ``requests``, ``context``, ``prefill`` | decoding requests, tokens in the KV cache, tokens of prompts: means of a step |
| ``draft_length`` | K that was drafted for these steps; null: nobody chose one |
| ``verified`` | drafts that went through the target model |
| ``reason`` | one of ``reasons.py``; null without a choice |
| ``predicted_tokens``, ``predicted_seconds`` | what the plans promised, summed; null if some promised nothing |
| ``tokens``, ``seconds`` | what came of them, summed |
| ``judged``, ``accepted`` | drafts by their place: those that were accepted or rejected, and those accepted |
"""  # noqa: E501 - rows of a table

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossdock.serving.turbospec.driver import Outcome
from crossdock.serving.turbospec.positions import Positions
from crossdock.serving.turbospec.step import Plan

STRETCH_S = 1.0


class DecisionLog:
    """Writes the log; an observer of a driver.

    Args:
        path: is appended to. Ranks may share it: a line is written at once.
        max_draft: the longest draft.
        rank: this one's.
        now: tells the time of lines.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(
        self, path: Path, max_draft: int, rank: int = 0, now: Callable[[], float] = time.time
    ) -> None:
        self._file = path.open("a", buffering=1)
        self._max_draft = max_draft
        self._rank = rank
        self._now = now
        self._stretch: _Stretch | None = None

    def __call__(self, outcome: Outcome) -> None:
        """A step has ended."""
        stretch = self._stretch
        if stretch is not None and not stretch.fits(outcome.plan):
            self._write(stretch)
            stretch = None
        if stretch is None:
            stretch = self._stretch = _Stretch(outcome.plan, self._max_draft)
        stretch.add(outcome)
        if stretch.seconds >= STRETCH_S or not outcome.busy:
            self._write(stretch)
            self._stretch = None

    def close(self) -> None:
        """Write what is left."""
        if self._stretch is not None:
            self._write(self._stretch)
            self._stretch = None
        self._file.close()

    def _write(self, stretch: _Stretch) -> None:
        line = {"time": round(self._now(), 3), "rank": self._rank, **stretch.line()}
        self._file.write(json.dumps(line) + "\n")


class _Stretch:
    def __init__(self, plan: Plan | None, max_draft: int) -> None:
        self._decision = _decision(plan)
        self._positions = Positions(max_draft)
        self._steps = self._requests = self._context = self._prefill = 0
        self._tokens = self._verified = 0
        self._predicted: tuple[float, float] | None = (0.0, 0.0)
        self.seconds = 0.0

    def fits(self, plan: Plan | None) -> bool:
        """Whether a step with this plan belongs here."""
        return _decision(plan) == self._decision

    def add(self, outcome: Outcome) -> None:
        """One more step."""
        step, plan = outcome.step, outcome.plan
        self._steps += 1
        self._requests += step.work.requests
        self._context += step.work.context
        self._prefill += outcome.prefill
        self._tokens += step.generated
        self._verified += sum(step.verified.drafts)
        self.seconds += step.seconds
        self._positions.add(step.verified)
        if plan is None or plan.seconds <= 0 or self._predicted is None:
            self._predicted = None
        else:
            tokens, seconds = self._predicted
            self._predicted = tokens + plan.tokens, seconds + plan.seconds

    def line(self) -> dict[str, Any]:
        """All but the time."""
        length, reason = self._decision
        tokens, seconds = self._predicted or (None, None)
        return {
            "steps": self._steps,
            "requests": round(self._requests / self._steps, 2),
            "context": round(self._context / self._steps, 1),
            "prefill": round(self._prefill / self._steps, 1),
            "draft_length": length,
            "reason": reason,
            "verified": self._verified,
            "predicted_tokens": None if tokens is None else round(tokens, 2),
            "predicted_seconds": None if seconds is None else round(seconds, 6),
            "tokens": self._tokens,
            "seconds": round(self.seconds, 6),
            "judged": self._positions.judged,
            "accepted": self._positions.accepted,
        }


def _decision(plan: Plan | None) -> tuple[int | None, str | None]:
    return (None, None) if plan is None else (plan.draft_length, plan.reason)
