"""What of vLLM's scheduler a policy is told. Imports nothing of vLLM."""

from __future__ import annotations

import dataclasses
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
    drafts = output.scheduled_spec_decode_tokens
    for name, tokens in output.num_scheduled_tokens.items():
        request = scheduler.requests[name]
        computed = request.num_computed_tokens + tokens
        before += computed
        if tokens == 1 + len(drafts.get(name, ())):
            decoding += 1
            decoded += tokens
        missing = request.num_tokens + request.num_output_placeholders - computed
        if missing > 0:
            left += missing
            continue
        # This step gives a token at least, and the next one gives one beyond its drafts.
        useful = request.max_tokens - request.num_output_tokens - 2
        names.append(name)
        limits.append(min(max(useful, 0), max_draft))
        ahead += computed
    total = output.total_num_scheduled_tokens
    room = scheduler.max_num_scheduled_tokens - len(names)
    if total >= scheduler.max_num_scheduled_tokens and len(scheduler.waiting) > 0:
        left = room
    batch = Batch(names, ahead, max(0, min(left, room)), limits)
    return batch, Work(decoding, total, before, 0), total - decoded


def with_draft(work: Work, draft_length: int) -> Work:
    """The work of a step whose drafter goes this far."""
    return dataclasses.replace(work, draft_length=draft_length)


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
    names, counts, accepted = [], [], []
    for name, tokens in drafts.items():
        request = scheduler.requests.get(name)
        if name in joined or request is None or request.is_finished():
            continue
        if request.num_stale_output_tokens > 0:  # it was preempted while the step ran
            continue
        given = len(sampled[results.req_id_to_index[name]])
        count = len(tokens) - invalid.get(name, 0)
        if given > 0 and count > 0:
            names.append(name)
            counts.append(count)
            accepted.append(min(given - 1, count))
    return Verified(names, counts, accepted)
