"""Messages of the normal mode: what each rank tells each before rows move.

They are those of ``ep/csrc/control.h``: a header says what comes, a grant where it may go. To a
rank that writes into this one's inbox by itself, a grant says `_INBOX` instead of `rows_at`: rows
begin with the inbox, and `meta_at` is an offset in there.

Kernels of one call leave each other word in its *course*, int64 of the device:

| course at | holds |
|---|---|
| HEADERS, GRANTS | the round of these messages, or -1 when there is none |
| GOING | 0 when rows move, or -1 when ranks do not agree |
| REFUSED | why this rank refuses the call; 0 when it does not |
"""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.ep.kernels.ring import WRITE_ADD, push, write_high, write_low
from crossdock.ep.kernels.view import (
    DISAGREEMENT,
    GRANT_ROUND,
    HEADER_ROUND,
    MAIN,
    MAIN_REGION,
    TOO_MANY,
    control_at,
    halves_at,
    inbox_of,
    words_at,
)

HEADERS = tl.constexpr(0)
GRANTS = tl.constexpr(2)
GOING = tl.constexpr(4)
REFUSED = tl.constexpr(6)
COURSE_WORDS = 8

_INBOX = tl.constexpr(1 << 62)  # beyond all offsets

_HEAD_BYTES = tl.constexpr(64)
_ROWS_AT = tl.constexpr(32)
_META_AT = tl.constexpr(40)
_BAD_ARGUMENTS = tl.constexpr(1)


@triton.jit
def common_words(
    word, call, hidden_bytes, scale_bytes, topk, num_experts, dispatch, element_bytes, refusal
):
    """What each message begins with: what must be the same on all ranks, and a refusal."""
    value = tl.where(word == 0, call, tl.where(word == 1, hidden_bytes, 0))
    value = tl.where(word == 2, scale_bytes, tl.where(word == 3, topk, value))
    value = tl.where(word == 4, num_experts, tl.where(word == 5, dispatch, value))
    return tl.where(word == 6, element_bytes, tl.where(word == 7, refusal, value)).to(tl.int32)


@triton.jit
def outgoing(slots_at, slot_bytes, round_, peer, RANKS: tl.constexpr):
    """Offset of the slot in which the message to a peer is composed."""
    return slots_at + ((2 + (round_ & 1)) * RANKS + peer) * slot_bytes


@triton.jit
def incoming(slots_at, slot_bytes, round_, source, RANKS: tl.constexpr):
    """Offset of the slot in which the message from a source arrives."""
    return slots_at + ((round_ & 1) * RANKS + source) * slot_bytes


@triton.jit
def post(view, state, peer, from_, to, size, counter,
         NUM_RINGS: tl.constexpr, CAPACITY: tl.constexpr, FENCE_BY: tl.constexpr):  # fmt: skip
    """Send a message that is composed."""
    one = tl.arange(0, 1)
    zero = one.to(tl.int64)
    region = zero + MAIN_REGION
    low = write_low(zero + WRITE_ADD, zero + peer, zero + size, region, region, counter, zero + 1)
    high = zero + write_high(from_, to)
    push(view, state, peer % NUM_RINGS, low, high, one == 0, CAPACITY, FENCE_BY)


@triton.jit
def announce(
    view, state, course, number, sent, per_expert,
    slots_at, slot_bytes, call, hidden_bytes, scale_bytes, topk, num_experts, element_bytes,
    refusal,
    COUNTER: tl.constexpr, RANK: tl.constexpr, RANKS: tl.constexpr, LOCAL: tl.constexpr,
    LOCAL_LANES: tl.constexpr, NUM_RINGS: tl.constexpr, CAPACITY: tl.constexpr,
    FENCE_BY: tl.constexpr,
):  # fmt: skip
    """One program a rank: the header for it. `sent` [ranks], `per_expert` [experts]."""
    peer = tl.program_id(0)
    round_ = tl.load(course + HEADERS)
    dispatch = tl.load(number)
    if peer == 0:
        tl.store(course + REFUSED, refusal)
    at = outgoing(slots_at, slot_bytes, round_, peer, RANKS)
    base = tl.load(view + MAIN) + at
    word = tl.arange(0, 16)
    rows = tl.load(sent + peer)
    value = common_words(
        word, call, hidden_bytes, scale_bytes, topk, num_experts, dispatch, element_bytes, refusal
    )
    tl.store(halves_at(base) + word, tl.where(word == 8, rows, value))
    lane = tl.arange(0, LOCAL_LANES)
    counts = tl.load(per_expert + peer * LOCAL + lane, mask=lane < LOCAL, other=0)
    tl.store(halves_at(base + _HEAD_BYTES) + lane, counts, mask=lane < LOCAL)
    to = incoming(slots_at, slot_bytes, round_, RANK, RANKS)
    size: tl.constexpr = (64 + 4 * LOCAL + 15) // 16 * 16
    counter = COUNTER + (round_ & 1)
    post(view, state, peer, at, to, size, counter, NUM_RINGS, CAPACITY, FENCE_BY)


@triton.jit
def all_agree(
    view, course, slots, slot_bytes, arrived_in,
    call, hidden_bytes, scale_bytes, topk, num_experts, dispatch, element_bytes,
    RANKS: tl.constexpr, RANK_LANES: tl.constexpr,
):  # fmt: skip
    """Whether every rank has sent a message, none refuses, and none differs; else it is reported.

    Each rank compares with each other, so that all come to the same answer.
    """
    lane = tl.arange(0, RANK_LANES)
    known = lane < RANKS
    arrived = tl.load(arrived_in + lane, mask=known, other=1)
    word = tl.arange(0, 8)
    at = halves_at(slots + lane.to(tl.int64) * slot_bytes)[:, None] + word[None, :]
    theirs = tl.load(at, mask=known[:, None], other=0)
    mine = common_words(
        word, call, hidden_bytes, scale_bytes, topk, num_experts, dispatch, element_bytes, 0
    )
    place = lane[:, None] * 8 + word[None, :]
    wrong = known[:, None] & (theirs != mine[None, :])
    # Refusals go first: who refuses says nothing of the rest.
    none: tl.constexpr = 16 * RANK_LANES
    order = tl.where(word[None, :] == 7, place, 8 * RANK_LANES + place)
    first = tl.min(tl.where(wrong, order, none))
    here = tl.min(arrived) != 0
    if here & (first < none) & (tl.load(course + REFUSED) == 0):
        found = first % (8 * RANK_LANES)
        field = found % 8
        value = tl.sum(tl.where(place == found, theirs, 0))
        ours = tl.sum(tl.where(word == field, mine, 0))
        tl.store(control_at(view, DISAGREEMENT + 1), tl.where(field == 7, value, 0))
        tl.store(control_at(view, DISAGREEMENT + 2), field)
        tl.store(control_at(view, DISAGREEMENT + 3), value)
        tl.store(control_at(view, DISAGREEMENT + 4), ours)
        tl.store(control_at(view, DISAGREEMENT), found // 8 + 1)
    return here & (first == none)


@triton.jit
def read_headers(
    view, state, course, number, arrived_in, first_row, expert_rows,
    slots_at, slot_bytes, call, hidden_bytes, scale_bytes, topk, num_experts, element_bytes,
    RANKS: tl.constexpr, RANK_LANES: tl.constexpr, LOCAL: tl.constexpr, LOCAL_LANES: tl.constexpr,
):  # fmt: skip
    """One program: what comes. Writes `first_row` [ranks + 1] and `expert_rows` [experts here].

    Where ranks do not agree the call ends here, and `number` becomes -1.
    """
    round_ = tl.load(course + HEADERS)
    tl.store(state + HEADER_ROUND, round_ + 1)
    slots = tl.load(view + MAIN) + incoming(slots_at, slot_bytes, round_, 0, RANKS)
    goes = all_agree(
        view, course, slots, slot_bytes, arrived_in, call, hidden_bytes, scale_bytes, topk,
        num_experts, tl.load(number), element_bytes, RANKS, RANK_LANES,
    )  # fmt: skip
    lane = tl.arange(0, RANK_LANES)
    known = lane < RANKS
    header = slots + lane.to(tl.int64) * slot_bytes
    rows = tl.load(halves_at(header) + 8, mask=known & goes, other=0).to(tl.int64)
    tl.store(first_row + lane, tl.cumsum(rows, 0) - rows, mask=known)
    tl.store(first_row + RANKS, tl.sum(rows, 0))
    expert = tl.arange(0, LOCAL_LANES)
    total = tl.zeros((LOCAL_LANES,), tl.int64)
    for source in range(RANKS):
        counts = halves_at(slots + source * slot_bytes + _HEAD_BYTES)
        total += tl.load(counts + expert, mask=(expert < LOCAL) & goes, other=0)
    tl.store(expert_rows + expert, total, mask=expert < LOCAL)
    if goes == 0:
        tl.store(course + GRANTS, tl.full((), -1, tl.int64))
        tl.store(number, tl.full((), -1, tl.int64))


@triton.jit
def grant(
    view, state, course, number, first_row, sent, first_out, expected,
    slots_at, slot_bytes, rows_at, meta_at, inbox_meta_at, room,
    call, hidden_bytes, scale_bytes, topk, num_experts, element_bytes, refusal,
    USES_INBOX: tl.constexpr, COMBINES: tl.constexpr, PIECES: tl.constexpr, COUNTER: tl.constexpr,
    RANK: tl.constexpr, RANKS: tl.constexpr, RANK_LANES: tl.constexpr, NUM_RINGS: tl.constexpr,
    CAPACITY: tl.constexpr, FENCE_BY: tl.constexpr,
):  # fmt: skip
    """One program a rank: the grant for it.

    Rows of a dispatch are granted where `first_row` [ranks + 1] says, if there are no more than
    `room`; those of a combine one rank after the other, without this rank's own, as `first_out`
    [ranks] says then. Writes `expected` [ranks]: PIECES for each row that another rank sends, 1
    where it writes all into the inbox and says so then.
    """
    peer = tl.program_id(0)
    round_ = tl.load(course + GRANTS)
    lane = tl.arange(0, RANK_LANES)
    known = lane < RANKS
    near = inbox_of(view, lane, known & USES_INBOX, RANKS) != 0
    if COMBINES:
        rows = tl.load(sent + lane, mask=known & (lane != RANK), other=0).to(tl.int64)
        first = tl.cumsum(rows, 0) - rows
        table = tl.where(lane == RANK, tl.sum(tl.where(lane == peer, first, 0), 0), 0)
        refuses = tl.full((), 0, tl.int32) + refusal
    else:
        first = tl.load(first_row + lane, mask=known, other=0)
        rows = tl.load(first_row + lane + 1, mask=known & (lane != RANK), other=0) - first
        table = first
        total = tl.load(first_row + RANKS)
        refuses = tl.where((refusal == 0) & (total > room), _BAD_ARGUMENTS, refusal)
        if (peer == 0) & (refusal == 0) & (total > room) & (round_ >= 0):
            tl.store(control_at(view, TOO_MANY), total.to(tl.int32))
    if peer == 0:
        tl.store(first_out + lane, first, mask=known)
        pieces = tl.where(near, 1, (rows * PIECES).to(tl.int32))
        tl.store(expected + lane, tl.where(lane == RANK, 0, pieces), mask=known)
    if round_ >= 0:
        if peer == 0:
            tl.store(course + REFUSED, refuses.to(tl.int64))
        at = outgoing(slots_at, slot_bytes, round_, peer, RANKS)
        base = tl.load(view + MAIN) + at
        word = tl.arange(0, 8)
        value = common_words(
            word, call, hidden_bytes, scale_bytes, topk, num_experts, tl.load(number),
            element_bytes, refuses,
        )  # fmt: skip
        tl.store(halves_at(base) + word, value)
        place = tl.arange(0, 4)
        where_to = tl.where(place == 0, rows_at, tl.where(place == 1, meta_at, 0)).to(tl.int64)
        if tl.max((near & (lane == peer)).to(tl.int32), 0) != 0:
            inside = tl.where(place == 1, inbox_meta_at, 0).to(tl.int64)
            where_to = tl.where(place == 0, _INBOX, inside)
        tl.store(words_at(base + _ROWS_AT) + place, where_to)
        tl.store(halves_at(base + _HEAD_BYTES) + lane, table.to(tl.int32), mask=known)
        to = incoming(slots_at, slot_bytes, round_, RANK, RANKS)
        size: tl.constexpr = (64 + 4 * RANKS + 15) // 16 * 16
        counter = COUNTER + (round_ & 1)
        post(view, state, peer, at, to, size, counter, NUM_RINGS, CAPACITY, FENCE_BY)


@triton.jit
def read_grants(
    view, state, course, number, arrived_in, rows_to, meta_to, near_to,
    slots_at, slot_bytes, meta_bytes,
    call, hidden_bytes, scale_bytes, topk, num_experts, element_bytes,
    COMBINES: tl.constexpr, MAKES_HANDLE: tl.constexpr, RANK: tl.constexpr, RANKS: tl.constexpr,
    RANK_LANES: tl.constexpr,
):  # fmt: skip
    """One program: where rows go. Writes `rows_to` and `meta_to` [ranks], offsets of heaps; or
    addresses, where this rank writes by itself, as `near_to` [ranks] says then.

    Rows move only when all ranks agree. Where they do not, a handle that the call was to make
    gets the number -1.
    """
    round_ = tl.load(course + GRANTS)
    if round_ >= 0:
        tl.store(state + GRANT_ROUND, round_ + 1)
        slots = tl.load(view + MAIN) + incoming(slots_at, slot_bytes, round_, 0, RANKS)
        goes = all_agree(
            view, course, slots, slot_bytes, arrived_in, call, hidden_bytes, scale_bytes, topk,
            num_experts, tl.load(number), element_bytes, RANKS, RANK_LANES,
        )  # fmt: skip
        lane = tl.arange(0, RANK_LANES)
        known = (lane < RANKS) & goes
        message = slots + lane.to(tl.int64) * slot_bytes
        mine = lane if COMBINES else RANK
        first = tl.load(halves_at(message + _HEAD_BYTES) + mine, mask=known, other=0).to(tl.int64)
        rows_at = tl.load(words_at(message + _ROWS_AT), mask=known, other=0)
        meta_at = tl.load(words_at(message + _META_AT), mask=known, other=0)
        near = known & (rows_at == _INBOX)
        base = inbox_of(view, lane, near, RANKS)
        begin = tl.where(near, base, rows_at)
        tl.store(rows_to + lane, begin + first * hidden_bytes, mask=known)
        tl.store(meta_to + lane, base + meta_at + first * meta_bytes, mask=known)
        tl.store(near_to + lane, near.to(tl.int64), mask=lane < RANKS)
        if goes:
            tl.store(course + GOING, tl.full((), 0, tl.int64))
        elif MAKES_HANDLE:
            tl.store(number, tl.full((), -1, tl.int64))
