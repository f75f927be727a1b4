"""The prompts that share the steps to come.

What waits is known when a step is planned. Who sends the next prompt when an answer ends, or comes
by chance, is not; but what shared the last steps tells how often that is, and how much. An average
would not do: a step that is full of prompts now and then makes drafts dear in that step alone.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence

_KEPT = 16
"""Steps that are looked back on."""
_EVERY = 4
"""Steps from one look to the next."""


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """Of the next step."""

    known: int
    """Tokens of prompts that will share it in any case."""
    recent: Sequence[int]
    """Those of the last steps, each as likely as the others."""
    generated: float
    """Tokens that requests got in one of them, in the mean: as many more as they get, so many more
    prompts come in their place."""


class Prompts:
    """Remembers the last steps."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, int]] = deque(maxlen=_KEPT)
        self._news = 0
        self._known = 0

    def saw(self, tokens: int, generated: int) -> None:
        """Tokens of prompts in a step, and tokens that requests got."""
        self._recent.append((tokens, generated))
        self._news += 1

    def expected(self, known: int) -> Expected | None:
        """What may share the next step; None: as was said the last time.

        Args:
            known: tokens of prompts that will share it.
        """
        if self._news < _EVERY and known == self._known:
            return None
        self._news, self._known = 0, known
        generated = sum(tokens for _, tokens in self._recent) / max(len(self._recent), 1)
        return Expected(known, [tokens for tokens, _ in self._recent], max(generated, 1.0))
