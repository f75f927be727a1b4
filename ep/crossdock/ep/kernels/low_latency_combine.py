"""Low-latency combine: `give_back` sends the rows of experts, `reduce` sums them."""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.ep._native import RESULT_COUNTER
from crossdock.ep.kernels.bf16 import bf16_bits
from crossdock.ep.kernels.logfmt import decode_blocks, encode_row
from crossdock.ep.kernels.low_latency_receive import RESULT, TOKEN_INDEX, is_last
from crossdock.ep.kernels.ring import ADD, WRITE_ADD, push, signal_low, write_high, write_low
from crossdock.ep.kernels.rows import copy_row
from crossdock.ep.kernels.view import (
    COMBINE_DONE,
    PEERS,
    REGION,
    STAGED,
    base_from,
    direct_to,
)

RESULT_ROWS = tl.constexpr(RESULT_COUNTER)


@triton.constexpr_function
def returned_bytes(HIDDEN, LOGFMT):
    """Bytes of a row on its way back, in whole granules."""
    size = HIDDEN // 128 * 168 if LOGFMT else 2 * HIDDEN
    return (size + 15) // 16 * 16


@triton.jit
def row_command(region, source, from_, to, round_, HIDDEN: tl.constexpr, LOGFMT: tl.constexpr):
    """Both words of the command by which a proxy carries a row back, and counts it."""
    zero = tl.full((), 0, tl.int64)
    size = zero + returned_bytes(HIDDEN, LOGFMT)
    counter = RESULT_ROWS + (round_ & 1)
    low = write_low(zero + WRITE_ADD, source, size, region, region, counter, zero + 1)
    return low, write_high(from_, to)


@triton.jit
def give_back(
    view, state, x, log2_of, round_in, excused_in, count, origin,
    half_bytes, region_at, results_at, results_per_token, out_results_at, max_tokens,
    SHARE: tl.constexpr, RANKS: tl.constexpr, RANK_LANES: tl.constexpr, LOCAL: tl.constexpr,
    HIDDEN: tl.constexpr, LOGFMT: tl.constexpr, CHUNK: tl.constexpr, RINGS: tl.constexpr,
    CAPACITY: tl.constexpr, FENCE_BY: tl.constexpr,
):  # fmt: skip
    """SHARE programs an expert: each row into its place at its source.

    With LOGFMT rows travel in that format; `log2_of` is its table. A row that a proxy carries is
    counted by itself. When all programs are done, the last one tells the ranks that were written to
    directly, with one addition each.
    """
    local = tl.program_id(0) // SHARE
    round_ = tl.load(round_in)
    half = (round_ & 1) * half_bytes
    first_row = local.to(tl.int64) * RANKS * max_tokens
    number = tl.load(count + local)
    size: tl.constexpr = 2 * HIDDEN
    zero = tl.full((), 0, tl.int64)
    start = tl.program_id(0) % SHARE
    packed = tl.load(origin + first_row + start, mask=start < number, other=0)
    for row in range(start, number, SHARE):
        source = packed & 0xFFF
        token = packed >> TOKEN_INDEX
        result = (packed >> RESULT) & 0xFF
        there = half + results_at + (token * results_per_token + result) * size
        staged = half + out_results_at + (first_row + row) * size
        direct = tl.load(view + PEERS + source)
        to = tl.where(direct != 0, direct + there, tl.load(view + STAGED) + staged)
        # Of the next row, so that it need not wait for it.
        packed = tl.load(origin + first_row + row + SHARE, mask=row + SHARE < number, other=0)
        given = x.to(tl.int64) + (first_row + row) * size
        if LOGFMT:
            encode_row(given, to, log2_of, HIDDEN, CHUNK // 64)
        else:
            copy_row(given, to, size // 4, CHUNK)
        if direct == 0:
            region = tl.load(view + REGION)
            low, high = row_command(
                region, source, region_at + staged, region_at + there, round_, HIDDEN, LOGFMT
            )
            one = tl.arange(0, 1)
            ring = row % RINGS
            push(view, state, ring, low + one, high + one, one == 0, CAPACITY, FENCE_BY)
    if is_last(state, COMBINE_DONE, LOCAL * SHARE):
        lane = tl.arange(0, RANK_LANES)
        known = lane < RANKS
        excused = tl.load(excused_in + lane, mask=known, other=1)
        told = known & (excused == 0) & (direct_to(view, lane, known) != 0)
        low = signal_low(zero + ADD, lane.to(tl.int64), RESULT_ROWS + (round_ & 1), zero + 1)
        push(view, state, (round_ % RINGS).to(tl.int32), low, low * 0, told, CAPACITY, FENCE_BY)


@triton.jit
def weighted(
    view, half, entry, token, channel, first, topk_idx, topk_weights, result_slot, arrived_in,
    results_at, results_per_token,
    HIDDEN: tl.constexpr, LOCAL: tl.constexpr, LOGFMT: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Channels of the row that came for one entry of the top-k choice, times its weight; 0 where
    none came. In LogFMT `first` is their first block."""
    slot = tl.load(result_slot + entry)
    weight = tl.load(topk_weights + entry)
    rank = (tl.load(topk_idx + entry, mask=slot >= 0, other=0) // LOCAL).to(tl.int32)
    came = (slot >= 0) & (tl.load(arrived_in + rank) != 0)
    row = results_at + (token.to(tl.int64) * results_per_token + slot) * 2 * HIDDEN
    source = base_from(view, rank, True) + half + row
    if LOGFMT:
        blocks = decode_blocks(source, first, came, HIDDEN, CHUNK // 128)
        values = tl.reshape(blocks, (CHUNK,))
    else:
        address = tl.multiple_of(source.to(tl.pointer_type(tl.bfloat16)), 16)
        given = tl.load(address + channel, mask=came & (channel < HIDDEN), other=0.0)
        values = given.to(tl.float32)
    return tl.where(came, weight * values, 0.0)


@triton.jit
def reduce(
    view,
    out,
    round_in,
    topk_idx,
    topk_weights,
    result_slot,
    arrived_in,
    half_bytes,
    results_at,
    results_per_token,
    HIDDEN: tl.constexpr,
    LOCAL: tl.constexpr,
    K: tl.constexpr,
    LOGFMT: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """One program a token and chunk of channels: the weighted sum in float32, in the order of k.

    `out` [tokens, hidden] is bf16 as int16.
    """
    token = tl.program_id(0)
    channel = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    first = tl.program_id(1) * (CHUNK // 128)
    half = (tl.load(round_in) & 1) * half_bytes
    total = tl.zeros((CHUNK,), tl.float32)
    if LOGFMT:
        for k in range(K):
            total += weighted(
                view, half, token * K + k, token, channel, first, topk_idx, topk_weights,
                result_slot, arrived_in, results_at, results_per_token, HIDDEN, LOCAL, LOGFMT,
                CHUNK,
            )  # fmt: skip
    else:
        # Without branches: no row waits for the one before it.
        for k in tl.static_range(K):
            total += weighted(
                view, half, token * K + k, token, channel, first, topk_idx, topk_weights,
                result_slot, arrived_in, results_at, results_per_token, HIDDEN, LOCAL, LOGFMT,
                CHUNK,
            )  # fmt: skip
    to = out + token.to(tl.int64) * HIDDEN + channel
    tl.store(to, bf16_bits(total), mask=channel < HIDDEN)
