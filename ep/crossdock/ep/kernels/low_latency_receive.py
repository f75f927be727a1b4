"""Low-latency dispatch, receiving: `place` finds the rows of each expert, `unpack` fills them."""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.ep.kernels.low_latency_dispatch import (
    CREDIT,
    HEADER_BYTES,
    first_mentions,
    head_bytes,
    result_slots,
    row_bytes,
    scale_bytes,
)
from crossdock.ep.kernels.ring import SEAL, push, signal_low
from crossdock.ep.kernels.rows import copy_row
from crossdock.ep.kernels.view import (
    DISPATCH_DONE,
    MISMATCH,
    THEIR_SHAPE,
    base_from,
    control_at,
    halves_at,
)

# An origin is 64 bits: source rank, slot there, place among the token's results, token.
SLOT = tl.constexpr(12)
RESULT = tl.constexpr(24)
TOKEN_INDEX = tl.constexpr(32)


@triton.jit
def tokens_from(
    view, base, source, arrived, headers_at, max_tokens, num_experts,
    HIDDEN: tl.constexpr, K: tl.constexpr, FORMAT: tl.constexpr,
):  # fmt: skip
    """How many tokens a source has sent: none when it did not answer, or with another shape."""
    header = halves_at(base + headers_at + source * HEADER_BYTES)
    word = tl.arange(0, 8)
    theirs = tl.load(header + word, mask=word < 6, other=0)
    mine = tl.where(word == 0, max_tokens, tl.where(word == 1, HIDDEN, 0))
    mine = tl.where(word == 2, num_experts, tl.where(word == 3, K, mine))
    mine = tl.where(word == 4, FORMAT, mine)
    differs = tl.max(((theirs != mine) & (word < 5)).to(tl.int32), 0)
    if (arrived != 0) & (differs != 0):
        tl.store(control_at(view, THEIR_SHAPE) + word, theirs, mask=word < 5)
        tl.store(control_at(view, MISMATCH), source + 1)
    count = tl.sum(tl.where(word == 5, theirs, 0), 0)
    return tl.where((arrived != 0) & (differs == 0), tl.minimum(count, max_tokens), 0)


@triton.jit
def place(
    view,
    round_in,
    arrived_in,
    count_out,
    range_out,
    src_info,
    origin,
    statistics,
    half_bytes,
    headers_at,
    tokens_at,
    slot_bytes,
    max_tokens,
    num_experts,
    COUNTED: tl.constexpr,
    RANK: tl.constexpr,
    RANKS: tl.constexpr,
    LOCAL: tl.constexpr,
    HIDDEN: tl.constexpr,
    FORMAT: tl.constexpr,
    K: tl.constexpr,
    K_LANES: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """One program a local expert: its rows, ordered by source, then by token.

    Writes `count_out` [experts], `range_out` [experts, ranks], `src_info` and `origin`
    [experts, ranks * max_tokens]; with COUNTED adds to `statistics` [experts].
    """
    local = tl.program_id(0)
    expert = RANK * LOCAL + local
    half = (tl.load(round_in) & 1) * half_bytes
    first_row = local.to(tl.int64) * RANKS * max_tokens
    lane = tl.arange(0, TOKENS)
    k = tl.arange(0, K_LANES)
    filled = tl.full((), 0, tl.int32)
    for source in range(RANKS):
        base = base_from(view, source) + half
        arrived = tl.load(arrived_in + source)
        tokens = tokens_from(
            view, base, source, arrived, headers_at, max_tokens, num_experts, HIDDEN, K, FORMAT
        )
        begun = filled
        slots = base + tokens_at + tl.full((), source, tl.int64) * max_tokens * slot_bytes
        for start in range(0, tokens, TOKENS):
            index = start + lane
            inside = index < tokens
            slot = slots + index.to(tl.int64) * slot_bytes
            at = halves_at(slot[:, None] + 16) + k[None, :]
            ids = tl.load(at, mask=inside[:, None] & (k[None, :] < K), other=-1)
            named = ids == expert
            hit = tl.max(named.to(tl.int32), 1)
            row = first_row + filled + tl.cumsum(hit, 0) - hit
            results = result_slots(ids, first_mentions(ids, K_LANES), K_LANES)
            result = tl.max(tl.where(named, results, 0), 1)
            token = tl.load(halves_at(slot), mask=inside, other=0)
            packed = source | (index.to(tl.int64) << SLOT) | (result.to(tl.int64) << RESULT)
            packed = packed | (token.to(tl.int64) << TOKEN_INDEX)
            tl.store(origin + row, packed, mask=hit > 0)
            tl.store(src_info + row, token, mask=hit > 0)
            filled += tl.sum(hit, 0)
        span = (begun.to(tl.int64) << 32) | (filled - begun).to(tl.int64)
        tl.store(range_out + local * RANKS + source, span)
    tl.store(count_out + local, filled)
    if COUNTED:
        tl.store(statistics + local, tl.load(statistics + local) + filled)


@triton.jit
def is_last(state, cell: tl.constexpr, programs):
    """Whether all other programs of this kernel have come here; then the cell is 0 again.

    What they have written is visible everywhere before whatever the last one writes next.
    """
    tl.debug_barrier()
    done = tl.atomic_add(state + cell, tl.full((), 1, tl.int64), sem="acq_rel", scope="sys")
    last = done == programs - 1
    if last:
        tl.store(state + cell, tl.full((), 0, tl.int64))
    return last


@triton.jit
def unpack(
    view,
    state,
    round_in,
    excused_in,
    count,
    origin,
    rows_out,
    scales_out,
    half_bytes,
    tokens_at,
    slot_bytes,
    max_tokens,
    SHARE: tl.constexpr,
    RANKS: tl.constexpr,
    RANK_LANES: tl.constexpr,
    LOCAL: tl.constexpr,
    HIDDEN: tl.constexpr,
    FORMAT: tl.constexpr,
    K: tl.constexpr,
    CHUNK: tl.constexpr,
    SCALE_LANES: tl.constexpr,
    RINGS: tl.constexpr,
    CAPACITY: tl.constexpr,
    FENCE_BY: tl.constexpr,
):
    """SHARE programs an expert: copy rows and scales; the last one gives every rank its credit.

    `rows_out` [experts, ranks * max_tokens, row]; `scales_out` [experts, scales, ranks *
    max_tokens], that is column-major.
    """
    local = tl.program_id(0) // SHARE
    round_ = tl.load(round_in)
    half = (round_ & 1) * half_bytes
    capacity = RANKS * max_tokens
    first_row = local.to(tl.int64) * capacity
    number = tl.load(count + local)
    for row in range(tl.program_id(0) % SHARE, number, SHARE):
        packed = tl.load(origin + first_row + row)
        source = packed & 0xFFF
        index = (packed >> SLOT) & 0xFFF
        slot = (source * max_tokens + index) * slot_bytes + tokens_at
        payload = base_from(view, source) + half + slot + head_bytes(K)
        size: tl.constexpr = row_bytes(HIDDEN, FORMAT)
        to = rows_out.to(tl.int64) + (first_row + row) * size
        copy_row(payload, to, size // 4, CHUNK)
        if scale_bytes(HIDDEN, FORMAT) > 0:
            words: tl.constexpr = scale_bytes(HIDDEN, FORMAT) // 4
            lane = tl.arange(0, SCALE_LANES)
            scales = tl.load(halves_at(payload + size) + lane, mask=lane < words, other=0)
            column = (local.to(tl.int64) * words + lane) * capacity + row
            tl.store(halves_at(scales_out.to(tl.int64)) + column, scales, mask=lane < words)
    if is_last(state, DISPATCH_DONE, LOCAL * SHARE):
        lane = tl.arange(0, RANK_LANES)
        known = lane < RANKS
        excused = tl.load(excused_in + lane, mask=known, other=1)
        zero = tl.full((), 0, tl.int64)
        low = signal_low(zero + SEAL, lane.to(tl.int64), CREDIT + (round_ & 1), zero)
        ring = (round_ % RINGS).to(tl.int32)
        push(view, state, ring, low, low * 0, known & (excused == 0), CAPACITY, FENCE_BY)
