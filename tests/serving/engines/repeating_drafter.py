"""A drafter for ``custom_class`` that repeats what the context said before, or guesses."""

from __future__ import annotations

from typing import Any


class Repeating:
    """Proposes what followed the last token the time before; what it is given says no length."""

    def __init__(self, vllm_config: Any) -> None:
        self._length = vllm_config.speculative_config.num_speculative_tokens

    def propose(
        self, sampled: list[list[int]], lengths: Any, tokens: Any, **_: Any
    ) -> list[list[int]]:
        """As many drafts as were configured, always."""
        return [
            self._of(tokens[row, : lengths[row]].tolist()) if new else []
            for row, new in enumerate(sampled)
        ]

    def load_model(self, *_: Any, **__: Any) -> None:
        """There is none."""

    def _of(self, context: list[int]) -> list[int]:
        for place in range(len(context) - 2, -1, -1):
            if context[place] == context[-1]:
                found = context[place + 1 : place + 1 + self._length]
                return found + [context[-1]] * (self._length - len(found))
        return [context[-1]] * self._length
