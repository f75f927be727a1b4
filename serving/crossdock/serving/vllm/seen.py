"""What of vLLM's scheduler a policy is told. Imports nothing of vLLM.

A step holds hundreds of requests, and there is no time to look at each. So those that go on as
before are read from the lists that vLLM makes for its workers anyway; looked at one by one are
those that begin or come back, whose prompts are not done, or that are about to end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from crossdock.serving.turbospec.step import Batch, Verified, Work


@dataclasses.dataclass(slots=True)
class _Looked:
    """What looking at some requests of a step has shown."""

    prompts: int = 0
    """Requests that only compute tokens of prompts."""
    prompt_tokens: int = 0
    computed: dict[str, int] = dataclasses.field(default_factory=dict)
    """Tokens in the KV cache after the step, of requests that have others still to be computed."""
    left: int = 0
    """Tokens that these have still to compute."""


class Reader:
    """Reads the steps of a scheduler, all of them and in their order.

    Args:
        scheduler: vLLM's.
        max_draft: the most tokens that it can draft.
    """

    def __init__(self, scheduler: Any, max_draft: int) -> None:
        self._scheduler = scheduler
        self._max_draft = max_draft
        self._ends: dict[str, int] = {}
        """The most tokens of the answer, of each request that was scheduled."""
        self._unfinished: set[str] = set()
        """Requests that were scheduled and had tokens left to be computed."""

    def scheduled(self, output: Any) -> tuple[Batch, Work, int]:
        """A step that was just scheduled, before the scheduler notes it in its requests.

        Returns:
            The requests that can have drafts in the step after it, the work of the step itself but
            for the length of drafts, and the tokens of prompts in it.
        """
        for name in output.finished_req_ids:
            self._ends.pop(name, None)
            self._unfinished.discard(name)
        cached, total = output.scheduled_cached_reqs, output.total_num_scheduled_tokens
        begun = [new.req_id for new in output.scheduled_new_reqs]
        seen = self._look(output, self._odd(output, begun))
        context = total + sum(cached.num_computed_tokens)
        context += sum(new.num_computed_tokens for new in output.scheduled_new_reqs)
        names, had, left_out = cached.req_ids, cached.num_output_tokens, seen.computed
        if left_out:
            names = [name for name in names if name not in left_out]
            had = [
                count
                for name, count in zip(cached.req_ids, had, strict=True)
                if name not in left_out
            ]
        limits = self._limits(names, had)
        begun = [name for name in begun if name not in left_out]
        if begun:
            names, limits = [*names, *begun], [*limits, *map(self._useful, begun)]
        most = self._scheduler.max_num_scheduled_tokens
        room = most - len(names)
        left = room if total >= most and len(self._scheduler.waiting) > 0 else seen.left
        batch = Batch(
            requests=names,
            context=context - sum(left_out.values()),
            prefill=max(0, min(left, room)),
            limits=limits if min(limits, default=0) < self._max_draft else None,
        )
        decoding = len(output.num_scheduled_tokens) - seen.prompts
        return batch, Work(decoding, total, context, 0), seen.prompt_tokens

    def _odd(self, output: Any, begun: Sequence[str]) -> Collection[str]:
        """The requests of a step that must be looked at."""
        tokens: Mapping[str, int] = output.num_scheduled_tokens
        drafts = output.scheduled_spec_decode_tokens
        odd = {*begun, *output.scheduled_cached_reqs.resumed_req_ids}
        odd.update(name for name in self._unfinished if name in tokens)
        # All others have a token and their drafts in the step; else they were thrown back, such as
        # by blocks of the KV cache that could not be loaded.
        others = len(tokens) - len(odd) + sum(map(len, drafts.values()))
        others += sum(tokens[name] - len(drafts.get(name, ())) for name in odd)
        return odd if others == output.total_num_scheduled_tokens else tokens.keys()

    def _look(self, output: Any, names: Collection[str]) -> _Looked:
        seen, requests = _Looked(), self._scheduler.requests
        for name in names:
            request, tokens = requests[name], output.num_scheduled_tokens[name]
            if tokens != 1 and tokens != 1 + len(output.scheduled_spec_decode_tokens.get(name, ())):
                seen.prompts += 1
                seen.prompt_tokens += tokens
            computed = request.num_computed_tokens + tokens
            left = request.num_tokens + request.num_output_placeholders - computed
            self._ends[name] = request.max_tokens
            if left > 0:
                seen.computed[name] = computed
                seen.left += left
                self._unfinished.add(name)
            else:
                self._unfinished.discard(name)
        return seen

    def _limits(self, names: Sequence[str], had: Sequence[int]) -> list[int]:
        """The most drafts that each request can use.

        Args:
            names: of the requests.
            had: tokens of their answers, those included that steps under way may give.
        """
        ends, most = self._ends, self._max_draft
        enough = most + 2
        return [
            most if ends[name] - count >= enough else self._useful(name)
            for name, count in zip(names, had, strict=True)
        ]

    def _useful(self, name: str) -> int:
        request = self._scheduler.requests[name]
        # This step gives a token at least, and the next one gives one beyond its drafts.
        useful: int = request.max_tokens - request.num_output_tokens - 2
        return max(0, min(useful, self._max_draft))


def verified(scheduler: Any, output: Any, results: Any, last_alive: Any) -> Verified:
    """What became of the drafts of a step, before the scheduler takes its results.

    Args:
        scheduler: vLLM's.
        output: what it had scheduled.
        results: of the worker.
        last_alive: the last status of requests that have not ended.
    """
    drafts = output.scheduled_spec_decode_tokens
    sampled = results.sampled_token_ids
    if not drafts or not sampled:
        return Verified()
    # A request that joins is given placeholders for drafts, to fill a shape; nobody drafted them.
    joined = {request.req_id for request in output.scheduled_new_reqs}
    joined |= output.scheduled_cached_reqs.resumed_req_ids
    invalid = output.num_invalid_spec_tokens or {}
    requests, places = scheduler.requests, results.req_id_to_index
    names, counts, accepted = [], [], []
    for name, tokens in drafts.items():
        request = requests.get(name)
        # Finished, or preempted while the step ran.
        if request is None or request.num_stale_output_tokens > 0 or request.status > last_alive:
            continue
        right = len(sampled[places[name]]) - 1
        count = len(tokens)
        if invalid:
            count -= invalid.get(name, 0)
        if right >= 0 and count > 0 and name not in joined:
            names.append(name)
            counts.append(count)
            accepted.append(right if right < count else count)
    return Verified(names, counts, accepted)


def generated(outputs: Mapping[int, Any]) -> int:
    """Tokens that requests are given by a step, of all clients."""
    return sum(len(output.new_token_ids) for part in outputs.values() for output in part.outputs)


def cut(drafts: Any, allowed: Mapping[str, int], most: int) -> None:
    """Leave no request more drafts than it is to verify, before the scheduler takes them.

    Args:
        drafts: of the worker.
        allowed: by request; none where all may have the most.
        most: of all others.
    """
    tokens = drafts.draft_token_ids
    if allowed or max(map(len, tokens), default=0) > most:
        of = allowed.get
        drafts.draft_token_ids = [
            own[: of(name, most)] for name, own in zip(drafts.req_ids, tokens, strict=True)
        ]
