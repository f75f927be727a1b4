"""How much of what is asked of the drafter it has: one that looks up what was said before finds
nothing in new text, and a grammar cuts drafts short. Drafts that are not there cost nothing to
verify, and bring nothing.
"""

from __future__ import annotations

from crossdock.serving.turbospec.step import Step

_MEMORY = 64.0
"""Drafts of a request that are looked back on."""
_STEPS = 128.0
"""Steps that are looked back on: where nothing is asked for, what is not there is forgotten."""
_FIRST = 1.0
"""So many drafts of a request always count as asked for and as there."""


class Fill:
    """Compares what was asked for with what was verified, as a mean over requests."""

    def __init__(self) -> None:
        self._asked = _FIRST
        self._there = _FIRST

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self._there / self._asked

    def saw(self, step: Step) -> None:
        """A step."""
        requests = step.work.requests
        if requests == 0:
            return
        drafts = max(0, step.work.tokens - requests - step.prefill)
        keep = max(0.0, 1.0 - max(step.asked / _MEMORY, 1 / _STEPS))
        self._asked = _FIRST + (self._asked - _FIRST) * keep + step.asked
        self._there = _FIRST + (self._there - _FIRST) * keep + min(drafts / requests, step.asked)
