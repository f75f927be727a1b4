"""Low-latency dispatch, sending: `begin` plans, `send` moves tokens, `seal` closes the round.

The messages are those of ``ep/csrc/low_latency_layout.h``. A token goes straight into the memory of
a rank that this device can write into, else by a proxy from a slot of this rank's region.
"""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.ep._native import CREDIT_COUNTER, TOKEN_COUNTER
from crossdock.ep.kernels.fp8 import (
    BF16,
    BLOCK,
    FP8_UE8M0,
    block_scales,
    exponent_byte,
    to_fp8,
)
from crossdock.ep.kernels.ring import (
    SEAL,
    WRITE_ADD,
    WRITE_SEAL,
    push,
    signal_low,
    write_high,
    write_low,
)
from crossdock.ep.kernels.view import (
    BAD_INDEX,
    PEERS,
    REGION,
    ROUND,
    STAGED,
    bytes_at,
    control_at,
    direct_to,
    halves_at,
)

CREDIT = tl.constexpr(CREDIT_COUNTER)
TOKEN = tl.constexpr(TOKEN_COUNTER)
HEAD_BYTES = tl.constexpr(16)
HEADER_BYTES = tl.constexpr(32)


@triton.constexpr_function
def head_bytes(K):
    """Bytes before the payload of a token: its index and the ids of its experts."""
    return 16 + (4 * K + 15) // 16 * 16


@triton.constexpr_function
def row_bytes(HIDDEN, FORMAT):
    """Bytes of the channels of a token."""
    return 2 * HIDDEN if FORMAT == BF16 else HIDDEN


@triton.constexpr_function
def scale_bytes(HIDDEN, FORMAT):
    """Bytes of the scales of a token."""
    if FORMAT == BF16:
        return 0
    return HIDDEN // 128 if FORMAT == FP8_UE8M0 else 4 * (HIDDEN // 128)


@triton.jit
def first_mentions(ids, K_LANES: tl.constexpr):
    """Of expert ids [n, k]: whether none before in the row names the same expert."""
    k = tl.arange(0, K_LANES)
    same = ids[:, :, None] == ids[:, None, :]
    earlier = k[None, None, :] < k[None, :, None]
    return tl.max((same & earlier).to(tl.int32), 2) == 0


@triton.jit
def result_slots(ids, first, K_LANES: tl.constexpr):
    """Of expert ids [n, k]: the place of each one's row among the results of the token."""
    k = tl.arange(0, K_LANES)
    counted = (first & (ids >= 0)).to(tl.int32)
    same = ids[:, :, None] == ids[:, None, :]
    # The first mention of the same expert, and how many experts were counted before it.
    at = tl.min(tl.where(same, k[None, None, :], K_LANES), 2)
    before = (k[None, None, :] < at[:, :, None]).to(tl.int32)
    return tl.sum(before * counted[:, None, :], 2)


@triton.jit
def begin(
    view,
    state,
    topk_idx,
    excused_in,
    round_out,
    place_of,
    result_slot,
    sent,
    expected,
    num_tokens,
    RANKS: tl.constexpr,
    LOCAL: tl.constexpr,
    K: tl.constexpr,
    K_LANES: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """One program a rank: find the places of its tokens.

    Writes the round; `place_of` [tokens, ranks], -1 where a token does not go; `result_slot`
    [tokens, k]; `sent` [ranks]; `expected` [ranks], the rows that the rank's experts will return.
    """
    rank = tl.program_id(0)
    round_ = tl.load(state + ROUND)
    if rank == 0:
        tl.store(round_out, round_)
    excused = tl.load(excused_in + rank)
    lane = tl.arange(0, TOKENS)
    k = tl.arange(0, K_LANES)
    total = tl.full((), 0, tl.int32)
    rows = tl.full((), 0, tl.int32)
    for start in range(0, num_tokens, TOKENS):
        token = start + lane
        inside = (token[:, None] < num_tokens) & (k[None, :] < K)
        entry = token[:, None] * K + k[None, :]
        ids = tl.load(topk_idx + entry, mask=inside, other=-1)
        if rank == 0:
            wrong = (ids < -1) | (ids >= RANKS * LOCAL)
            if tl.max(wrong.to(tl.int32)) != 0:
                worst = tl.max(tl.where(wrong, entry + 1, 0))
                tl.store(control_at(view, BAD_INDEX), worst)
        ids = tl.where((ids >= 0) & (ids < RANKS * LOCAL), ids, -1).to(tl.int32)
        first = first_mentions(ids, K_LANES)
        here = (ids >= 0) & (ids // LOCAL == rank) & (excused == 0)
        slots = result_slots(ids, first, K_LANES)
        tl.store(result_slot + entry, slots, mask=inside & here)
        away = (ids < 0) | ((ids // LOCAL == rank) & (excused != 0))
        tl.store(result_slot + entry, tl.full(slots.shape, -1, tl.int32), mask=inside & away)
        hit = tl.max(here.to(tl.int32), 1)
        place = total + tl.cumsum(hit, 0) - hit
        goes = token < num_tokens
        tl.store(place_of + token * RANKS + rank, tl.where(hit > 0, place, -1), mask=goes)
        total += tl.sum(hit, 0)
        rows += tl.sum(tl.sum((here & first).to(tl.int32), 1), 0)
    tl.store(sent + rank, total)
    # Rows that need no proxy are announced together, by one addition.
    direct = tl.load(view + PEERS + rank)
    tl.store(expected + rank, tl.where(direct != 0, 1, rows))


@triton.jit
def put_head(address, token, topk_idx, K: tl.constexpr, K_LANES: tl.constexpr):
    """Write a token's index and the ids of its experts in front of its payload."""
    word = tl.arange(0, 4)
    head = tl.where(word == 0, token, tl.where(word == 1, K, 0))
    tl.store(halves_at(address) + word, head)
    k = tl.arange(0, K_LANES)
    ids = tl.load(topk_idx + token * K + k, mask=k < K, other=-1).to(tl.int32)
    tl.store(halves_at(address + HEAD_BYTES) + k, ids, mask=k < K)


@triton.jit
def load_payload(x, token, start, HIDDEN: tl.constexpr, FORMAT: tl.constexpr, BLOCKS: tl.constexpr):
    """BLOCKS blocks of a token's channels from block `start` on, in the format; their scales."""
    block = start + tl.arange(0, BLOCKS)
    at = block[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    values = tl.load(x + token.to(tl.int64) * HIDDEN + at, mask=at < HIDDEN, other=0.0)
    if FORMAT == BF16:
        scale = tl.zeros((BLOCKS,), tl.float32)
        cast = values
    else:
        scale, factor = block_scales(values.to(tl.float32), FORMAT)
        cast = to_fp8(values.to(tl.float32), factor)
    return cast, scale


@triton.jit
def store_payload(
    address, cast, scale, start, HIDDEN: tl.constexpr, FORMAT: tl.constexpr, BLOCKS: tl.constexpr
):
    """Write what `load_payload` returned."""
    block = start + tl.arange(0, BLOCKS)
    at = block[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    if FORMAT == BF16:
        target = tl.multiple_of(address.to(tl.pointer_type(tl.bfloat16)), 16)
        tl.store(target + at, cast, mask=at < HIDDEN)
    else:
        target = tl.multiple_of(address.to(tl.pointer_type(tl.uint8)), 16)
        tl.store(target + at, cast, mask=at < HIDDEN)
        known = block < HIDDEN // BLOCK
        if FORMAT == FP8_UE8M0:
            tl.store(bytes_at(address + HIDDEN) + block, exponent_byte(scale), mask=known)
        else:
            to = (address + HIDDEN).to(tl.pointer_type(tl.float32))
            tl.store(to + block, scale, mask=known)


@triton.jit
def send(
    view,
    state,
    x,
    topk_idx,
    round_in,
    place_of,
    half_bytes,
    region_at,
    tokens_at,
    out_tokens_at,
    slot_bytes,
    max_tokens,
    RANK: tl.constexpr,
    RANKS: tl.constexpr,
    RANK_LANES: tl.constexpr,
    HIDDEN: tl.constexpr,
    FORMAT: tl.constexpr,
    K: tl.constexpr,
    K_LANES: tl.constexpr,
    BLOCKS: tl.constexpr,
    RINGS: tl.constexpr,
    CAPACITY: tl.constexpr,
    FENCE_BY: tl.constexpr,
):
    """One program a token: its message to each rank that has an expert for it."""
    token = tl.program_id(0)
    round_ = tl.load(round_in)
    half = (round_ & 1) * half_bytes
    mine = half + tokens_at + tl.full((), RANK, tl.int64) * max_tokens * slot_bytes
    lane = tl.arange(0, RANK_LANES)
    known = lane < RANKS
    places = tl.load(place_of + token * RANKS + lane, mask=known, other=-1).to(tl.int64)
    by_proxy = (places >= 0) & (direct_to(view, lane, known) == 0)
    uses_proxy = tl.max(by_proxy.to(tl.int32), 0) != 0
    staged = half + out_tokens_at + token.to(tl.int64) * slot_bytes
    for start in range(0, (HIDDEN + BLOCK - 1) // BLOCK, BLOCKS):
        cast, scale = load_payload(x, token, start, HIDDEN, FORMAT, BLOCKS)
        for rank in range(RANKS + 1):
            # The last turn is that of the slot from which proxies send.
            if rank < RANKS:
                place = tl.load(place_of + token * RANKS + rank).to(tl.int64)
                base = tl.load(view + PEERS + rank)
                address = base + mine + place * slot_bytes
                goes = (place >= 0) & (base != 0)
            else:
                address = tl.load(view + STAGED) + staged
                goes = uses_proxy
            if goes:
                if start == 0:
                    put_head(address, token, topk_idx, K, K_LANES)
                store_payload(address + head_bytes(K), cast, scale, start, HIDDEN, FORMAT, BLOCKS)
    if uses_proxy:
        payload = head_bytes(K) + row_bytes(HIDDEN, FORMAT) + scale_bytes(HIDDEN, FORMAT)
        size = tl.full((), (payload + 15) // 16 * 16, tl.int64)
        zero = tl.full((), 0, tl.int64)
        region = tl.load(view + REGION)
        counter = TOKEN + (round_ & 1)
        low = write_low(
            zero + WRITE_ADD, lane.to(tl.int64), size, region, region, counter, zero + 1
        )
        high = write_high(region_at + staged, region_at + mine + places * slot_bytes)
        push(view, state, token % RINGS, low, high, by_proxy, CAPACITY, FENCE_BY)


@triton.jit
def seal(
    view,
    state,
    round_in,
    excused_in,
    sent,
    half_bytes,
    region_at,
    headers_at,
    out_headers_at,
    max_tokens,
    num_experts,
    RANK: tl.constexpr,
    RANKS: tl.constexpr,
    RANK_LANES: tl.constexpr,
    HIDDEN: tl.constexpr,
    FORMAT: tl.constexpr,
    K: tl.constexpr,
    RINGS: tl.constexpr,
    CAPACITY: tl.constexpr,
    FENCE_BY: tl.constexpr,
):
    """One program a ring: the header of the round for each rank, and the seal of its counter."""
    ring = tl.program_id(0)
    round_ = tl.load(round_in)
    half = (round_ & 1) * half_bytes
    lane = tl.arange(0, RANK_LANES)
    known = lane < RANKS
    excused = tl.load(excused_in + lane, mask=known, other=1)
    mine = known & (lane % RINGS == ring) & (excused == 0)
    count = tl.load(sent + lane, mask=mine, other=0)
    direct = direct_to(view, lane, known)
    staged = half + out_headers_at + lane * HEADER_BYTES
    there = half + headers_at + tl.full((), RANK, tl.int64) * HEADER_BYTES
    address = tl.where(direct != 0, direct + there, tl.load(view + STAGED) + staged)
    word = tl.arange(0, 8)[None, :]
    value = tl.where(word == 0, max_tokens, tl.where(word == 1, HIDDEN, 0))
    value = tl.where(word == 2, num_experts, tl.where(word == 3, K, value))
    value = tl.where(word == 4, FORMAT, tl.where(word == 5, count[:, None], value))
    tl.store(halves_at(address[:, None]) + word, value, mask=mine[:, None] & (word < 8))
    counter = TOKEN + (round_ & 1)
    zero = tl.full((), 0, tl.int64)
    peer = lane.to(tl.int64)
    size = tl.full((), HEADER_BYTES, tl.int64)
    region = tl.load(view + REGION)
    written = write_low(zero + WRITE_SEAL, peer, size, region, region, counter, count.to(tl.int64))
    signalled = signal_low(zero + SEAL, peer, counter, zero)
    low = tl.where(direct != 0, signalled, written)
    high = tl.where(direct != 0, zero, write_high(region_at + staged, region_at + there))
    push(view, state, ring, low, high, mine, CAPACITY, FENCE_BY)
    if ring == 0:
        tl.store(state + ROUND, round_ + 1)
