"""Low-latency dispatch, receiving: `place` finds the rows of each expert, `unpack` fills them."""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.ep.kernels.low_latency_dispatch import (
    CREDIT,
    HEAD_BYTES,
    HEADER_BYTES,
    first_mentions,
    head_bytes,
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
_FOUND = tl.constexpr((1 << 24) - 1)  # what is known of a row when it is found


@triton.jit
def tokens_from(
    view, base, source, active, arrived_in, headers_at, max_tokens, num_experts,
    HIDDEN: tl.constexpr, K: tl.constexpr, FORMAT: tl.constexpr,
):  # fmt: skip
    """How many tokens each of the sources [n] has sent: none when it did not answer, or with
    another shape, which is reported."""
    word = tl.arange(0, 8)[None, :]
    header = halves_at(base + headers_at + source * HEADER_BYTES)[:, None] + word
    theirs = tl.load(header, mask=active[:, None] & (word < 6), other=0)
    arrived = tl.load(arrived_in + source, mask=active, other=0) != 0
    mine = tl.where(word == 0, max_tokens, tl.where(word == 1, HIDDEN, 0))
    mine = tl.where(word == 2, num_experts, tl.where(word == 3, K, mine))
    mine = tl.where(word == 4, FORMAT, mine)
    differs = tl.max(((theirs != mine) & (word < 5)).to(tl.int32), 1) != 0
    worst = tl.max(tl.where(arrived & differs, source + 1, 0), 0)
    if worst != 0:
        told = control_at(view, THEIR_SHAPE) + word + 0 * source[:, None]
        tl.store(told, theirs, mask=(source + 1 == worst)[:, None] & (word < 5))
        tl.store(control_at(view, MISMATCH), worst)
    count = tl.sum(tl.where(word == 5, theirs, 0), 1)
    return tl.where(arrived & (differs == 0), tl.minimum(count, max_tokens), 0)


@triton.jit
def find_rows(
    view, expert, found, ranges, half, arrived_in, headers_at, tokens_at, slot_bytes, max_tokens,
    num_experts,
    RANKS: tl.constexpr, HIDDEN: tl.constexpr, FORMAT: tl.constexpr, K: tl.constexpr,
    K_LANES: tl.constexpr, SOURCES: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """Look through what came for the rows of an expert, SOURCES at once if they have no more than
    TOKENS. Writes source and slot of each row to `found`, and to `ranges` [ranks] where those of
    a source begin, and how many there are; returns how many there are of all."""
    k = tl.arange(0, K_LANES)[None, None, :]
    filled = tl.full((), 0, tl.int32)
    for first in range(0, RANKS, SOURCES):
        source = first + tl.arange(0, SOURCES)
        known = source < RANKS
        base = base_from(view, source, known) + half
        tokens = tokens_from(
            view, base, source, known, arrived_in, headers_at, max_tokens, num_experts, HIDDEN, K,
            FORMAT,
        )  # fmt: skip
        slots = base + tokens_at + source.to(tl.int64) * max_tokens * slot_bytes
        rows = tl.zeros((SOURCES,), tl.int32)
        begun = filled
        for start in range(0, tl.max(tokens, 0), TOKENS):
            index = start + tl.arange(0, TOKENS)[None, :]
            ids_at = slots[:, None] + index.to(tl.int64) * slot_bytes + HEAD_BYTES
            # The compiler believes a hint at a cast.
            at = tl.multiple_of(ids_at.to(tl.pointer_type(tl.int32)), [16, 16])
            inside = (index < tokens[:, None])[:, :, None] & (k < K)
            ids = tl.load(at[:, :, None] + k, mask=inside, other=-1)
            hit = tl.max((ids == expert).to(tl.int32), 2)
            flat = tl.reshape(hit, (SOURCES * TOKENS,))
            row = filled + tl.reshape(tl.cumsum(flat, 0) - flat, (SOURCES, TOKENS))
            packed = source[:, None].to(tl.int64) | (index.to(tl.int64) << SLOT)
            tl.store(found + row, packed, mask=hit > 0)
            rows += tl.sum(hit, 1)
            filled += tl.sum(flat, 0)
        begins = begun + tl.cumsum(rows, 0) - rows
        tl.store(ranges + source, (begins.to(tl.int64) << 32) | rows.to(tl.int64), mask=known)
    return filled


@triton.jit
def place(
    view, round_in, arrived_in, count_out, count_shown, range_out, src_info, origin, statistics,
    half_bytes, headers_at, tokens_at, slot_bytes, max_tokens, num_experts,
    COUNTED: tl.constexpr, RANK: tl.constexpr, RANKS: tl.constexpr, LOCAL: tl.constexpr,
    HIDDEN: tl.constexpr, FORMAT: tl.constexpr, K: tl.constexpr, K_LANES: tl.constexpr,
    SOURCES: tl.constexpr, TOKENS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """One program a local expert: its rows, ordered by source, then by token.

    Writes `count_out` and `count_shown` [experts], `range_out` [experts, ranks], `src_info` and
    `origin` [experts, ranks * max_tokens]; with COUNTED adds to `statistics` [experts].
    """
    local = tl.program_id(0)
    expert = RANK * LOCAL + local
    half = (tl.load(round_in) & 1) * half_bytes
    first_row = local.to(tl.int64) * RANKS * max_tokens
    found = origin + first_row
    filled = find_rows(
        view, expert, found, range_out + local * RANKS, half, arrived_in, headers_at, tokens_at,
        slot_bytes, max_tokens, num_experts, RANKS, HIDDEN, FORMAT, K, K_LANES, SOURCES, TOKENS,
    )  # fmt: skip
    tl.debug_barrier()  # other threads read what was found
    k = tl.arange(0, K_LANES)[None, :]
    for start in range(0, filled, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = row < filled
        # Without what is added below: several threads may do the same row.
        packed = tl.load(found + row, mask=inside, other=0) & _FOUND
        source = packed & 0xFFF
        slot = (source * max_tokens + (packed >> SLOT)) * slot_bytes + tokens_at
        slot += base_from(view, source, inside) + half
        at = tl.multiple_of((slot + HEAD_BYTES).to(tl.pointer_type(tl.int32)), [16])
        ids = tl.load(at[:, None] + k, mask=inside[:, None] & (k < K), other=-1)
        token = tl.load(halves_at(slot), mask=inside, other=0)
        # Of the token's results those of experts that it mentions before this one come first.
        mention = tl.min(tl.where(ids == expert, k, K_LANES), 1)
        counted = first_mentions(ids, K_LANES) & (ids >= 0)
        result = tl.sum((counted & (k < mention[:, None])).to(tl.int32), 1)
        packed |= (result.to(tl.int64) << RESULT) | (token.to(tl.int64) << TOKEN_INDEX)
        tl.store(found + row, packed, mask=inside)
        tl.store(src_info + first_row + row, token, mask=inside)
    tl.store(count_out + local, filled)
    tl.store(count_shown + local, filled)
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
    start = tl.program_id(0) % SHARE
    packed = tl.load(origin + first_row + start, mask=start < number, other=0)
    for row in range(start, number, SHARE):
        source = packed & 0xFFF
        index = (packed >> SLOT) & 0xFFF
        slot = (source * max_tokens + index) * slot_bytes + tokens_at
        payload = base_from(view, source, True) + half + slot + head_bytes(K)
        # All that is read is on its way before anything is written.
        packed = tl.load(origin + first_row + row + SHARE, mask=row + SHARE < number, other=0)
        size: tl.constexpr = row_bytes(HIDDEN, FORMAT)
        words: tl.constexpr = scale_bytes(HIDDEN, FORMAT) // 4
        lane = tl.arange(0, SCALE_LANES)
        scales = tl.load(halves_at(payload + size) + lane, mask=lane < words, other=0)
        to = rows_out.to(tl.int64) + (first_row + row) * size
        copy_row(payload, to, size // 4, CHUNK)
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
