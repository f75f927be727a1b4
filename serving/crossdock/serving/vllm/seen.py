"""What of vLLM's scheduler a policy is told. Imports nothing of vLLM."""

from __future__ import annotations

from typing import Any

from crossdock.serving.turbospec.step import Batch, Verified, Work


def scheduled(scheduler: Any, output: Any, max_draft: int) -> tuple[Batch, Work, int]:
    """A step that was just scheduled, before the scheduler notes it in its requests.

    Returns:
        The requests that can have drafts in the step after it, the work of the step itself but for
        the length of drafts, and the tokens of prompts in it.
    """
    names: list[str] = []
    limits: list[int] = []
    ahead = before = decoding = decoded = left = 0
    drafts, requests = output.scheduled_spec_decode_tokens, scheduler.requests
    # Hundreds of requests in each step: no calls in here that can be spared.
    for name, tokens in output.num_scheduled_tokens.items():
        request = requests[name]
        computed = request.num_computed_tokens + tokens
        before += computed
        if tokens == 1 or tokens == 1 + len(drafts.get(name, ())):
            decoding += 1
            decoded += tokens
        missing = request.num_tokens + request.num_output_placeholders - computed
        if missing > 0:
            left += missing
            continue
        # This step gives a token at least, and the next one gives one beyond its drafts.
        useful = request.max_tokens - request.num_output_tokens - 2
        names.append(name)
        limits.append(max_draft if useful > max_draft else useful if useful > 0 else 0)
        ahead += computed
    total = output.total_num_scheduled_tokens
    room = scheduler.max_num_scheduled_tokens - len(names)
    if total >= scheduler.max_num_scheduled_tokens and len(scheduler.waiting) > 0:
        left = room
    batch = Batch(names, ahead, max(0, min(left, room)), limits)
    return batch, Work(decoding, total, before, 0), total - decoded


def verified(scheduler: Any, output: Any, results: Any) -> Verified:
    """What became of the drafts of a step, before the scheduler takes its results."""
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
        if name in joined:
            continue
        request = requests.get(name)
        # Finished, or preempted while the step ran.
        if request is None or request.num_stale_output_tokens > 0 or request.is_finished():
            continue
        right = len(sampled[places[name]]) - 1
        count = len(tokens)
        if invalid:
            count -= invalid.get(name, 0)
        if right >= 0 and count > 0:
            names.append(name)
            counts.append(count)
            accepted.append(right if right < count else count)
    return Verified(names, counts, accepted)
