"""A worker without a model: each request has one continuation, drafts are right with a probability.

It runs steps in the order in which they were scheduled, up to ``ahead`` of them after the scheduler
has gone on, as a GPU does.
"""

from __future__ import annotations

import random
from typing import Any

VOCABULARY = 200


def following(context: list[int]) -> int:
    """The one token that comes next."""
    return (31 * context[-1] + 17 * len(context) + context[len(context) // 2]) % VOCABULARY


class Worker:
    """Keeps what a model runner keeps of each request."""

    def __init__(self, right: float) -> None:
        self._right = right
        self._dice = random.Random(2)
        self._known: dict[str, list[int]] = {}
        self._computed: dict[str, int] = {}
        self._drafts: dict[str, list[int]] = {}
        self.given: dict[str, list[int]] = {}
        """Of each request, how many drafts each of its steps verified."""
        self.asked: set[int] = set()
        """The lengths of drafts that steps asked for."""

    def run(self, output: Any) -> tuple[Any, Any]:
        """The results of a step, and its drafts."""
        from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput

        for request in output.scheduled_new_reqs:
            self._known[request.req_id] = list(request.prompt_token_ids)
            self._join(request.req_id, request.num_computed_tokens)
        cached = output.scheduled_cached_reqs
        for name, computed in zip(cached.req_ids, cached.num_computed_tokens, strict=True):
            if name in cached.resumed_req_ids:
                self._join(name, computed)
        self.asked.add(output.num_spec_tokens_to_schedule)
        names = list(output.num_scheduled_tokens)
        sampled = [self._step(name, output) for name in names]
        drafts = [
            self._draft(name, output.num_spec_tokens_to_schedule if new else 0)
            for name, new in zip(names, sampled, strict=True)
        ]
        places = {name: place for place, name in enumerate(names)}
        results = ModelRunnerOutput(
            req_ids=names, req_id_to_index=places, sampled_token_ids=sampled
        )
        return results, DraftTokenIds(names, drafts)

    def _join(self, name: str, computed: int) -> None:
        self._computed[name] = computed
        self._drafts[name] = []

    def _step(self, name: str, output: Any) -> list[int]:
        known = self._known[name]
        spec = len(output.scheduled_spec_decode_tokens.get(name, ()))
        tokens = output.num_scheduled_tokens[name] - spec
        self._computed[name] += tokens
        if self._computed[name] < len(known):
            return []
        assert self._computed[name] == len(known), f"{name} was given tokens that do not exist"
        self.given.setdefault(name, []).append(spec)
        new: list[int] = []
        for draft in [*self._drafts[name][:spec], None]:
            token = following([*known, *new])
            new.append(token)
            if draft != token:
                break
        self._computed[name] += len(new) - 1
        known.extend(new)
        return new

    def _draft(self, name: str, length: int) -> list[int]:
        context = list(self._known[name])
        for _ in range(length):
            right = self._dice.random() < self._right
            context.append(following(context) if right else VOCABULARY)
        self._drafts[name] = context[len(self._known[name]) :]
        return self._drafts[name]
