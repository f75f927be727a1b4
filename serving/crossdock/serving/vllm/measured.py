"""Runs steps of a given kind on a real vLLM, for the profiler. Needs vLLM when it is used."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from vllm.v1.core.sched.scheduler import Scheduler

from crossdock.serving.turbospec.profile import Key
from crossdock.serving.turbospec.profiling import ProfilingFailed
from crossdock.serving.turbospec.step import Work
from crossdock.serving.vllm.identity import key_of
from crossdock.serving.vllm.inprocess import InProcess

_SEED = 7
_FILLER = 1
"""A draft where the drafter has none: what it costs to verify does not depend on the token."""
_MOST_FILLING_STEPS = 10_000
_GROWTH = 128
"""Tokens by which a short request may grow before another one takes its place."""


class ForcedScheduler(Scheduler):  # type: ignore[misc, unused-ignore]
    """Every request has drafts of one length, whether the drafter finds any or not."""

    proposed = 0
    """What the drafter is asked for in it."""
    work = Work(0, 0, 0, 0)
    """Of the last step."""

    def _update_after_schedule(self, scheduler_output: Any) -> None:
        scheduler_output.num_spec_tokens_to_schedule = self.proposed
        super()._update_after_schedule(scheduler_output)
        scheduled = scheduler_output.num_scheduled_tokens
        self.work = Work(
            requests=len(scheduled),
            tokens=scheduler_output.total_num_scheduled_tokens,
            context=sum(self.requests[name].num_computed_tokens for name in scheduled),
            draft_length=self.proposed,
        )

    def update_draft_token_ids(self, draft_token_ids: Any) -> None:
        """As the class above, then cut or filled up to the length."""
        super().update_draft_token_ids(draft_token_ids)
        filler = [_FILLER] * self.proposed
        for request in self.running:
            if not request.is_prefill_chunk:
                request.spec_token_ids = [*request.spec_token_ids, *filler][: self.proposed]


class MeasuredEngine:
    """An ``Engine`` of ``turbospec.profiling`` that is vLLM.

    Args:
        model: what vLLM's ``--model`` takes.
        speculative: what its ``--speculative-config`` takes.
        arguments: others of ``EngineArgs``.
        clock: seconds; another than the wall's for a machine that is not idle.

    Raises:
        EngineMissing: vLLM is not here, or refuses these settings.
    """

    def __init__(
        self,
        model: str,
        speculative: Mapping[str, Any],
        arguments: Mapping[str, Any],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._vllm = InProcess(model, speculative, ForcedScheduler, arguments)
        self._scheduler = self._vllm.scheduler
        config = self._vllm.config
        self.key: Key = key_of(config)
        self.most_length: int = config.speculative_config.num_speculative_tokens
        self.most_requests: int = config.scheduler_config.max_num_seqs
        self._most_tokens: int = config.scheduler_config.max_num_batched_tokens
        self._most_context: int = config.model_config.max_model_len
        self._vocabulary: int = config.model_config.get_vocab_size()
        self._clock = clock
        self._dice = random.Random(_SEED)
        self._names: list[str] = []
        self._filled = (0, 0)
        self._number = 0

    def refusal(self, requests: int, context: int, length: int) -> str | None:
        """Why it cannot run such steps; None: it can."""
        room = context + 2 * (self.most_length + 1)
        tokens = requests * (length + 1)
        if length > self.most_length:
            return f"the engine drafts {self.most_length} tokens at most"
        if requests > self.most_requests:
            return f"the engine runs {self.most_requests} requests at most"
        if tokens > self._most_tokens:
            return f"{tokens} tokens are more than the {self._most_tokens} of a step"
        if room > self._most_context:
            return f"the engine's context ends at {self._most_context} tokens"
        block = int(self._scheduler.block_size)
        if requests * (room + block) > self._vllm.cache_tokens:
            return f"the KV cache holds {self._vllm.cache_tokens} tokens"
        return None

    def fill(self, requests: int, context: int) -> None:
        """Have exactly so many requests decode, with so many tokens each."""
        self._filled = (requests, context)
        self._scheduler.proposed = 0
        for _ in range(requests):
            self._number += 1
            prompt = [self._dice.randrange(3, self._vocabulary) for _ in range(context)]
            most = self._most_context - context
            self._names.append(self._vllm.add(f"profile-{self._number}", prompt, most))
        for _ in range(_MOST_FILLING_STEPS):
            self._vllm.step()
            if self._decoding() == requests:
                return
        raise ProfilingFailed(f"{requests} requests of {context} tokens do not begin to decode")

    def step(self, length: int) -> tuple[Work, float]:
        """Verify and propose drafts of this length for every request; how long it took."""
        context = self._filled[1]
        most = min(context + max(context, _GROWTH), self._most_context - 2 * (self.most_length + 1))
        if self._longest() > most:
            self.clear()
            self.fill(*self._filled)
        if self._decoding() != self._filled[0]:
            raise ProfilingFailed(f"requests have left: {self._decoding()} of {self._filled[0]}")
        self._scheduler.proposed = length
        start = self._clock()
        self._vllm.step()
        return self._scheduler.work, self._clock() - start

    def clear(self) -> None:
        """Have no request."""
        self._vllm.abort(self._names)
        self._names.clear()
        self._scheduler.proposed = 0
        self._vllm.step()  # workers are told of the end of requests with a step

    def close(self) -> None:
        """Give everything back."""
        self._vllm.close()

    def _decoding(self) -> int:
        return sum(bool(request.num_output_tokens) for request in self._scheduler.running)

    def _longest(self) -> int:
        return max((int(request.num_tokens) for request in self._scheduler.running), default=0)
