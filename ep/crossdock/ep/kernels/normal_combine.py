"""Rows of a normal combine: `return_rows` sends them home, `sum_rows` sums them."""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.ep.kernels.bf16 import bf16_bits
from crossdock.ep.kernels.normal_control import GOING
from crossdock.ep.kernels.normal_dispatch import meta_bytes, push_rows
from crossdock.ep.kernels.rows import copy_row
from crossdock.ep.kernels.view import HEAP, halves_at, inbox_of


@triton.jit
def return_rows(
    view, state, course, x, topk_weights, first_row, rows_to, meta_to, near_to,
    out_rows_at, out_meta_at,
    COUNTER: tl.constexpr, RANK: tl.constexpr, RANKS: tl.constexpr, RANK_LANES: tl.constexpr,
    ROW_BYTES: tl.constexpr, K: tl.constexpr, K_LANES: tl.constexpr, CHUNK: tl.constexpr,
    NUM_RINGS: tl.constexpr, CAPACITY: tl.constexpr, FENCE_BY: tl.constexpr,
):  # fmt: skip
    """One program a row that came: back to its source, but for this rank's own.

    It is written into the source's inbox where `near_to` says so, else staged for proxies.
    """
    row = tl.program_id(0)
    came = tl.load(first_row + RANKS)
    if (tl.load(course + GOING) >= 0) & (row < came):
        beside: tl.constexpr = meta_bytes(K, 0)
        lane = tl.arange(0, RANK_LANES)
        known = lane < RANKS
        first = tl.load(first_row + lane, mask=known, other=0)
        end = tl.load(first_row + lane + 1, mask=known, other=0)
        # Ranks without rows end where they begin.
        home = known & (first <= row) & (row < end) & (lane != RANK)
        if tl.max(home.to(tl.int32), 0) != 0:
            heap = tl.load(view + HEAP)
            place = row - first
            near = home & (tl.load(near_to + lane, mask=known, other=0) != 0)
            away = home & (near == 0)
            by_itself = tl.max(near.to(tl.int32), 0) != 0
            ring = row % NUM_RINGS
            if K > 0:
                to = tl.load(meta_to + lane, mask=known, other=0) + place * beside
                meta = out_meta_at + row.to(tl.int64) * beside
                address = tl.where(by_itself, tl.sum(tl.where(near, to, 0), 0), heap + meta)
                k = tl.arange(0, K_LANES)
                weights = tl.load(topk_weights + row.to(tl.int64) * K + k, mask=k < K, other=0)
                tl.store(halves_at(address) + k, weights, mask=k < K)
                push_rows(
                    view, state, ring, lane, meta, to, away, COUNTER, beside, CAPACITY, FENCE_BY
                )
            to = tl.load(rows_to + lane, mask=known, other=0) + place * ROW_BYTES
            staged = out_rows_at + row.to(tl.int64) * ROW_BYTES
            address = tl.where(by_itself, tl.sum(tl.where(near, to, 0), 0), heap + staged)
            source = x.to(tl.int64) + row.to(tl.int64) * ROW_BYTES
            copy_row(source, address, ROW_BYTES // 4, CHUNK)
            push_rows(
                view, state, ring, lane, staged, to, away, COUNTER, ROW_BYTES, CAPACITY, FENCE_BY
            )


@triton.jit
def load_channels(address, channel, HIDDEN: tl.constexpr, FLOAT: tl.constexpr):
    """Channels of a row by address, as float32."""
    if FLOAT:
        row = tl.multiple_of(address.to(tl.pointer_type(tl.float32)), 16)
    else:
        row = tl.multiple_of(address.to(tl.pointer_type(tl.bfloat16)), 16)
    return tl.load(row + channel, mask=channel < HIDDEN, other=0.0).to(tl.float32)


@triton.jit
def sum_rows(
    view, course, x, topk_weights, out, weights_out, bias, second_bias, first_row, first_in,
    place_of, rows_at, meta_at, inbox_meta_at,
    USES_INBOX: tl.constexpr, BIASES: tl.constexpr, RANK: tl.constexpr, RANKS: tl.constexpr,
    HIDDEN: tl.constexpr, FLOAT: tl.constexpr, K: tl.constexpr, K_LANES: tl.constexpr,
    CHUNK: tl.constexpr,
):  # fmt: skip
    """One program a token and chunk of channels: the sum in float32, in the order of ranks.

    Then biases are added. `out` [tokens, hidden] is float32, or bf16 as int16; `weights_out`
    [tokens, k] is float32. Rows of other ranks lie in the heap, or in the inbox, as `first_in`
    [ranks] says.
    """
    token = tl.program_id(0)
    if tl.load(course + GOING) >= 0:
        row_bytes: tl.constexpr = HIDDEN * (4 if FLOAT else 2)
        beside: tl.constexpr = meta_bytes(K, 0)
        channel = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
        k = tl.arange(0, K_LANES)
        heap = tl.load(view + HEAP)
        total = tl.zeros((CHUNK,), tl.float32)
        weights = tl.zeros((K_LANES,), tl.float32)
        for rank in range(RANKS):
            place = tl.load(place_of + token * RANKS + rank).to(tl.int64)
            if place >= 0:
                own = place + tl.load(first_row + RANK)
                other = place + tl.load(first_in + rank)
                mine = rank == RANK
                rows = heap + rows_at
                meta = heap + meta_at
                if USES_INBOX:
                    inbox = inbox_of(view, RANK, True, RANKS)
                    near = inbox_of(view, rank, True, RANKS) != 0
                    rows = tl.where(near, inbox, rows)
                    meta = tl.where(near, inbox + inbox_meta_at, meta)
                address = tl.where(mine, x.to(tl.int64) + own * row_bytes, rows + other * row_bytes)
                total += load_channels(address, channel, HIDDEN, FLOAT)
                if K > 0:
                    given = topk_weights.to(tl.int64) + own * 4 * K
                    meta = tl.where(mine, given, meta + other * beside)
                    floats = meta.to(tl.pointer_type(tl.float32))
                    weights += tl.load(floats + k, mask=k < K, other=0.0)
        at = token.to(tl.int64) * HIDDEN
        inside = channel < HIDDEN
        if BIASES > 0:
            total += tl.load(bias + at + channel, mask=inside, other=0.0).to(tl.float32)
        if BIASES > 1:
            total += tl.load(second_bias + at + channel, mask=inside, other=0.0).to(tl.float32)
        if FLOAT:
            tl.store(out + at + channel, total, mask=inside)
        else:
            tl.store(out + at + channel, bf16_bits(total), mask=inside)
        if (K > 0) & (tl.program_id(1) == 0):
            tl.store(weights_out + token.to(tl.int64) * K + k, weights, mask=k < K)
