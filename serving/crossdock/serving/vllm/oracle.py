"""Drafts of known quality, for tests and benches: vLLM's ``custom_class`` without a model.

It knows what each request will say, and proposes that, with mistakes at places that depend on
nothing but the request and the position: so a draft is accepted as often as was asked for, the
target model verifies it in earnest, and policies that draft differently meet the same luck. It is
vLLM's ``{"method": "custom_class", "model": NAME, ...}``. The engine must be in the same process
(``VLLM_ENABLE_V1_MULTIPROCESSING=0``), where ``SCRIPTS`` tells it what to say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from crossdock.proxy.errors import ArgumentError

NAME = "crossdock.serving.vllm.oracle.Oracle"
TAG = 8
"""The first tokens of a prompt by which a request is known: no two live ones may share them."""


@dataclasses.dataclass(frozen=True)
class Script:
    """What is drafted for one request."""

    prompt: Sequence[int]
    said: Sequence[int]
    """What the target model says without speculation, greedily."""
    right: Sequence[bool]
    """Whether the draft of each position of the output is; as long as ``said``."""


class Scripts:
    """The scripts of the live requests, and the length that the scheduler asks for.

    vLLM gives a ``custom_class`` neither the names of requests nor the length of drafts.
    """

    def __init__(self) -> None:
        self.length: int | None = None
        """Drafts for each request in this step; None: as many as are configured."""
        self._scripts: dict[tuple[int, ...], Script] = {}

    def add(self, script: Script) -> None:
        """A request begins.

        Raises:
            ArgumentError: its prompt is shorter than ``TAG``, or begins like that of another.
        """
        tag = tuple(script.prompt[:TAG])
        if len(tag) < TAG or tag in self._scripts:
            raise ArgumentError(
                f"an oracle tells requests apart by the first {TAG} tokens of their prompts; "
                f"another one has {list(tag)}, or the prompt is too short"
            )
        self._scripts[tag] = script

    def drop(self, prompt: Sequence[int]) -> None:
        """A request has ended."""
        self._scripts.pop(tuple(prompt[:TAG]), None)

    def clear(self) -> None:
        """All have ended."""
        self._scripts.clear()
        self.length = None

    def drafts(self, tokens: Sequence[int], held: int, most: int) -> list[int]:
        """What is proposed after the first ``held`` tokens of a request's prompt and output."""
        script = self._scripts.get(tuple(int(token) for token in tokens[:TAG]))
        if script is None:
            return []
        first = held - len(script.prompt)
        said = script.said[first : first + most]
        return [
            token if script.right[first + place] else _another(token)
            for place, token in enumerate(said)
        ]


SCRIPTS = Scripts()
"""Of the engine in this process."""


class Oracle:
    """The proposer that vLLM builds."""

    def __init__(self, vllm_config: Any) -> None:
        self._most: int = vllm_config.speculative_config.num_speculative_tokens

    def load_model(self, *_args: Any, **_named: Any) -> None:
        """There is none."""

    def propose(
        self,
        sampled_token_ids: list[list[int]],
        num_tokens_no_spec: Any,
        token_ids_cpu: Any,
        slot_mappings: Any = None,
    ) -> list[list[int]]:
        """Drafts for each request of the batch; none where a prompt is not through yet."""
        del slot_mappings
        length = self._most if SCRIPTS.length is None else min(SCRIPTS.length, self._most)
        return [
            SCRIPTS.drafts(token_ids_cpu[place], int(num_tokens_no_spec[place]), length)
            if sampled and length
            else []
            for place, sampled in enumerate(sampled_token_ids)
        ]


def _another(token: int) -> int:
    """A token that is certainly wrong, and in the vocabulary."""
    return token - 1 if token > 0 else 1
