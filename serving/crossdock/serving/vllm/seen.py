"""What of vLLM's scheduler a policy is told. Imports nothing of vLLM.

A step holds hundreds of requests, and there is no time to look at each. So those that go on as
before are read from the lists that vLLM makes for its workers anyway; looked at one by one are
those that begin or come back, whose prompts are not done, or that are about to end. What must be
done for every request is in ``serving/csrc/bindings_steps.cc``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from crossdock.serving.turbospec.step import Batch, Plan, Verified, Work


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
        last_alive: the last status of requests that have not ended.
    """

    def __init__(self, scheduler: Any, max_draft: int, last_alive: int) -> None:
        from crossdock.serving import _native

        self._native = _native
        self._last_alive = last_alive
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
        begun = [name for name in begun if name not in left_out]
        limits = self._limits(names, had, begun)
        if begun:
            names = [*names, *begun]
        most = self._scheduler.max_num_scheduled_tokens
        room = most - len(names)
        left = room if total >= most and len(self._scheduler.waiting) > 0 else seen.left
        batch = Batch(
            requests=names,
            context=context - sum(left_out.values()),
            prefill=max(0, min(left, room)),
            limits=limits,
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

    def _limits(
        self, names: Sequence[str], had: Sequence[int], begun: Sequence[str]
    ) -> list[int] | None:
        """The most drafts that each request can use; None where all can use all.

        Args:
            names: of requests that go on.
            had: tokens of their answers, those included that steps under way may give.
            begun: names of those that come after them.
        """
        most = self._max_draft
        near = self._native.near_end(names, had, self._ends, most + 2)
        fewer = {place: self._useful(names[place]) for place in near}
        fewer.update(enumerate(map(self._useful, begun), len(names)))
        if min(fewer.values(), default=most) == most:
            return None
        limits = [most] * (len(names) + len(begun))
        for place, useful in fewer.items():
            limits[place] = useful
        return limits

    def _useful(self, name: str) -> int:
        request = self._scheduler.requests[name]
        # This step gives a token at least, and the next one gives one beyond its drafts.
        useful: int = request.max_tokens - request.num_output_tokens - 2
        return max(0, min(useful, self._max_draft))

    def verified(self, output: Any, results: Any) -> Verified:
        """What became of the drafts of a step, before the scheduler takes its results.

        Args:
            output: what it had scheduled.
            results: of the worker.
        """
        drafts = output.scheduled_spec_decode_tokens
        sampled = results.sampled_token_ids
        if not drafts or not sampled:
            return Verified()
        # A request that joins is given placeholders for drafts, to fill a shape; nobody drafted
        # them. Those that finished, or were preempted while the step ran, are left out as well.
        joined = {request.req_id for request in output.scheduled_new_reqs}
        joined |= output.scheduled_cached_reqs.resumed_req_ids
        columns = self._native.verified(
            self._scheduler.requests,
            drafts,
            sampled,
            results.req_id_to_index,
            joined,
            output.num_invalid_spec_tokens or {},
            self._last_alive,
        )
        return Verified(*columns)

    def cut(self, drafts: Any, names: Sequence[str], plan: Plan) -> None:
        """Leave no request more drafts than it is to verify, before the scheduler takes them.

        Args:
            drafts: of the worker, which has the requests in an order of its own.
            names: of the requests that the plan is for; others keep as many as it drafts.
            plan: what they verify.
        """
        drafts.draft_token_ids = self._native.cut(
            drafts.req_ids, drafts.draft_token_ids, names, plan.verify, plan.draft_length
        )


def generated(outputs: Mapping[int, Any]) -> int:
    """Tokens that requests are given by a step, of all clients."""
    return sum([len(one.new_token_ids) for part in outputs.values() for one in part.outputs])
