"""Rows of a normal dispatch: `send_rows` packs and sends them, `unpack_rows` puts them in place.

Beside each row travels what ``ep/csrc/meta.h`` says: ids of experts, weights, scales.
"""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.ep.kernels.normal_control import GOING
from crossdock.ep.kernels.ring import ADD, WRITE_ADD, push, signal_low, write_high, write_low
from crossdock.ep.kernels.rows import copy_row
from crossdock.ep.kernels.view import HEAP, HEAP_REGION, halves_at, inbox_of


@triton.constexpr_function
def meta_bytes(K, SCALES):
    """Bytes that travel beside a row."""
    return (8 * K + 4 * SCALES + 15) // 16 * 16


@triton.jit
def push_rows(
    view, state, ring, peer, from_, to, wanted, counter, SIZE: tl.constexpr,
    CAPACITY: tl.constexpr, FENCE_BY: tl.constexpr,
):  # fmt: skip
    """Send SIZE bytes of the heap to each peer that is wanted, which counts them as one."""
    zero = peer.to(tl.int64) * 0
    heap = zero + HEAP_REGION
    low = write_low(
        zero + WRITE_ADD, peer.to(tl.int64), zero + SIZE, heap, heap, zero + counter, zero + 1
    )
    push(view, state, ring, low, write_high(zero + from_, to), wanted, CAPACITY, FENCE_BY)


@triton.jit
def tell_near(
    view, state, course, near_to,
    COUNTER: tl.constexpr, RANK: tl.constexpr, RANKS: tl.constexpr, RANK_LANES: tl.constexpr,
    NUM_RINGS: tl.constexpr, CAPACITY: tl.constexpr, FENCE_BY: tl.constexpr,
):  # fmt: skip
    """One program a ring, behind the kernel that writes rows: those that this rank has put into
    inboxes of others are all there."""
    ring = tl.program_id(0)
    if tl.load(course + GOING) >= 0:
        lane = tl.arange(0, RANK_LANES)
        near = tl.load(near_to + lane, mask=lane < RANKS, other=0) != 0
        told = near & (lane != RANK) & (lane % NUM_RINGS == ring)
        zero = lane.to(tl.int64) * 0
        low = signal_low(zero + ADD, lane.to(tl.int64), zero + COUNTER, zero + 1)
        push(view, state, ring, low, zero, told, CAPACITY, FENCE_BY)


@triton.jit
def put_meta(
    address, token, topk_idx, topk_weights, scales, row_stride, column_stride,
    K: tl.constexpr, K_LANES: tl.constexpr, SCALES: tl.constexpr, SCALE_LANES: tl.constexpr,
):  # fmt: skip
    """Write what travels beside a token; weights and scales are passed as their bits."""
    if K > 0:
        k = tl.arange(0, K_LANES)
        ids = tl.load(topk_idx + token * K + k, mask=k < K, other=-1).to(tl.int32)
        tl.store(halves_at(address) + k, ids, mask=k < K)
        weights = tl.load(topk_weights + token * K + k, mask=k < K, other=0)
        tl.store(halves_at(address + 4 * K) + k, weights, mask=k < K)
    if SCALES > 0:
        column = tl.arange(0, SCALE_LANES)
        at = token.to(tl.int64) * row_stride + column.to(tl.int64) * column_stride
        given = tl.load(scales + at, mask=column < SCALES, other=0)
        tl.store(halves_at(address + 8 * K) + column, given, mask=column < SCALES)


@triton.jit
def send_rows(
    view, state, course, x, topk_idx, topk_weights, scales, place_of, rows_to, meta_to, near_to,
    row_stride, column_stride, out_rows_at, out_meta_at,
    COUNTER: tl.constexpr, RANK: tl.constexpr, RANKS: tl.constexpr, RANK_LANES: tl.constexpr,
    ROW_BYTES: tl.constexpr, K: tl.constexpr, K_LANES: tl.constexpr, SCALES: tl.constexpr,
    SCALE_LANES: tl.constexpr, CHUNK: tl.constexpr, NUM_RINGS: tl.constexpr,
    CAPACITY: tl.constexpr, FENCE_BY: tl.constexpr,
):  # fmt: skip
    """One program a token: to each rank that `place_of` [tokens, ranks] names.

    Into inboxes it is written for each rank; it is staged once in the heap for all others; for this
    rank it goes where it would arrive.
    """
    token = tl.program_id(0)
    if tl.load(course + GOING) >= 0:
        beside: tl.constexpr = meta_bytes(K, SCALES)
        lane = tl.arange(0, RANK_LANES)
        known = lane < RANKS
        places = tl.load(place_of + token * RANKS + lane, mask=known, other=-1)
        near = tl.load(near_to + lane, mask=known, other=0) != 0
        to_rows = tl.load(rows_to + lane, mask=known, other=0) + places.to(tl.int64) * ROW_BYTES
        to_meta = tl.load(meta_to + lane, mask=known, other=0) + places.to(tl.int64) * beside
        away = (places >= 0) & (lane != RANK) & (near == 0)
        heap = tl.load(view + HEAP)
        row = out_rows_at + token.to(tl.int64) * ROW_BYTES
        meta = out_meta_at + token.to(tl.int64) * beside
        for rank in range(RANKS + 1):
            # The last turn is that of the place from which proxies send.
            if rank < RANKS:
                by_itself = tl.max(((lane == rank) & near).to(tl.int32), 0) != 0
                base = tl.where(by_itself, 0, heap)
                there = tl.max(tl.where(lane == rank, places, -1), 0) >= 0
                goes = there & (by_itself | (rank == RANK))
                row_address = base + tl.sum(tl.where(lane == rank, to_rows, 0), 0)
                meta_address = base + tl.sum(tl.where(lane == rank, to_meta, 0), 0)
            else:
                goes = tl.max(away.to(tl.int32), 0) != 0
                row_address = heap + row
                meta_address = heap + meta
            if goes:
                source = x.to(tl.int64) + token.to(tl.int64) * ROW_BYTES
                copy_row(source, row_address, ROW_BYTES // 4, CHUNK)
                put_meta(
                    meta_address, token, topk_idx, topk_weights, scales, row_stride,
                    column_stride, K, K_LANES, SCALES, SCALE_LANES,
                )  # fmt: skip
        ring = token % NUM_RINGS
        if beside > 0:
            push_rows(
                view, state, ring, lane, meta, to_meta, away, COUNTER, beside, CAPACITY, FENCE_BY
            )
        push_rows(
            view, state, ring, lane, row, to_rows, away, COUNTER, ROW_BYTES, CAPACITY, FENCE_BY
        )


@triton.jit
def unpack_rows(
    view, course, first_row, rows_out, idx_out, weights_out, scales_out, rows_at, meta_at,
    inbox_meta_at,
    USES_INBOX: tl.constexpr, RANK: tl.constexpr, FIRST_EXPERT: tl.constexpr, LOCAL: tl.constexpr,
    RANKS: tl.constexpr, RANK_LANES: tl.constexpr, ROW_BYTES: tl.constexpr, K: tl.constexpr,
    K_LANES: tl.constexpr, SCALES: tl.constexpr, SCALE_LANES: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """One program a row of the results; rows beyond what came are padding.

    `idx_out` [rows, k] gets the numbers of experts of this rank, -1 elsewhere; `weights_out`
    [rows, k], as bits, 0 there; `scales_out` [rows, scales], as bits.
    """
    row = tl.program_id(0)
    came = tl.load(first_row + RANKS)
    if tl.load(course + GOING) >= 0:
        beside: tl.constexpr = meta_bytes(K, SCALES)
        real = row < came
        heap = tl.load(view + HEAP)
        rows = heap + rows_at
        meta = heap + meta_at
        if USES_INBOX:
            lane = tl.arange(0, RANK_LANES)
            known = lane < RANKS
            first = tl.load(first_row + lane, mask=known, other=0)
            end = tl.load(first_row + lane + 1, mask=known, other=0)
            # Of the source; ranks without rows end where they begin.
            near = inbox_of(view, lane, known & (first <= row) & (row < end), RANKS) != 0
            inbox = inbox_of(view, RANK, True, RANKS)
            by_itself = tl.max(near.to(tl.int32), 0) != 0
            rows = tl.where(by_itself, inbox, rows)
            meta = tl.where(by_itself, inbox + inbox_meta_at, meta)
        meta += row.to(tl.int64) * beside
        if real:
            source = rows + row.to(tl.int64) * ROW_BYTES
            target = rows_out.to(tl.int64) + row.to(tl.int64) * ROW_BYTES
            copy_row(source, target, ROW_BYTES // 4, CHUNK)
        if K > 0:
            k = tl.arange(0, K_LANES)
            there = (k < K) & real
            local = tl.load(halves_at(meta) + k, mask=there, other=-1) - FIRST_EXPERT
            weights = tl.load(halves_at(meta + 4 * K) + k, mask=there, other=0)
            mine = there & (local >= 0) & (local < LOCAL)
            at = row.to(tl.int64) * K + k
            tl.store(idx_out + at, tl.where(mine, local, -1).to(tl.int64), mask=k < K)
            tl.store(weights_out + at, tl.where(mine, weights, 0), mask=k < K)
        if SCALES > 0:
            column = tl.arange(0, SCALE_LANES)
            there = (column < SCALES) & real
            given = tl.load(halves_at(meta + 8 * K) + column, mask=there, other=0)
            tl.store(scales_out + row.to(tl.int64) * SCALES + column, given, mask=there)
