"""Where tokens go: counts for each rank and expert, from the top-k choice."""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.ep.kernels.low_latency_dispatch import first_mentions
from crossdock.ep.kernels.view import BAD_COUNT, BAD_INDEX, control_at


@triton.jit
def load_choices(view, topk_idx, token, num_tokens, EXPERTS: tl.constexpr, K: tl.constexpr,
                 K_LANES: tl.constexpr):  # fmt: skip
    """int32 [n, k] of tokens [n], -1 for none. What is no expert is reported, and is none."""
    k = tl.arange(0, K_LANES)
    inside = (token[:, None] < num_tokens) & (k[None, :] < K)
    entry = token[:, None] * K + k[None, :]
    ids = tl.load(topk_idx + entry, mask=inside, other=-1)
    wrong = (ids < -1) | (ids >= EXPERTS)
    if tl.max(wrong.to(tl.int32)) != 0:
        tl.store(control_at(view, BAD_INDEX), tl.max(tl.where(wrong, entry + 1, 0)))
    return tl.where((ids >= 0) & (ids < EXPERTS), ids, -1).to(tl.int32)


@triton.jit
def count_tokens(
    view,
    topk_idx,
    per_rank,
    per_expert,
    in_rank,
    num_tokens,
    RANKS: tl.constexpr,
    LOCAL: tl.constexpr,
    K: tl.constexpr,
    K_LANES: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """One program for TOKENS tokens: a token counts once at each rank and at each expert.

    Adds to `per_rank` [ranks] and `per_expert` [experts]; writes `in_rank` [tokens, ranks].
    """
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    ids = load_choices(view, topk_idx, token, num_tokens, RANKS * LOCAL, K, K_LANES)
    first = first_mentions(ids, K_LANES) & (ids >= 0)
    # Sums of whole numbers are the same in any order.
    tl.atomic_add(per_expert + ids, first.to(tl.int32), mask=first, sem="relaxed")
    for rank in range(RANKS):
        hit = tl.max(((ids >= 0) & (ids // LOCAL == rank)).to(tl.int32), 1)
        tl.store(in_rank + token * RANKS + rank, hit.to(tl.uint8), mask=token < num_tokens)
        tl.atomic_add(per_rank + rank, tl.sum(hit, 0), sem="relaxed")


@triton.jit
def plan(
    view, in_rank, per_rank, place_of, sent, num_tokens, RANKS: tl.constexpr, TOKENS: tl.constexpr
):
    """One program a rank: the places of its tokens among those of this source.

    Writes `place_of` [tokens, ranks], -1 where a token does not go, and `sent` [ranks]. Reports a
    rank for which `per_rank` [ranks] announces another number.
    """
    rank = tl.program_id(0)
    total = tl.full((), 0, tl.int32)
    for start in range(0, num_tokens, TOKENS):
        token = start + tl.arange(0, TOKENS)
        inside = token < num_tokens
        hit = tl.load(in_rank + token * RANKS + rank, mask=inside, other=0) != 0
        one = hit.to(tl.int32)
        place = total + tl.cumsum(one, 0) - one
        tl.store(place_of + token * RANKS + rank, tl.where(hit, place, -1), mask=inside)
        total += tl.sum(one, 0)
    tl.store(sent + rank, total)
    if tl.load(per_rank + rank) != total:
        tl.store(control_at(view, BAD_COUNT), rank + 1)
