"""Waits for counters. The deadline is the host's: it sees who waits, and raises the stop flag."""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.ep.kernels.system import clock_ns, fence_system, poll
from crossdock.ep.kernels.view import (
    COUNTERS,
    EXCUSED,
    FENCE,
    GIVE_UP,
    STOP,
    TELL,
    TOLD,
    WAIT_NUMBER,
    WAITING,
    WAITS,
    control_at,
    words_at,
)

LOOK_EVERY = tl.constexpr(8)


@triton.jit
def is_ready(word, wanted, SEALED: tl.constexpr):
    """Whether the counters with these words have all that they wait for."""
    if SEALED:
        # Bit 63 says that the upper half is the total.
        ready = (word < 0) & ((word & 0xFFFFFFFF) == ((word >> 32) & 0x7FFFFFFF))
    else:
        ready = word == wanted
    return ready


@triton.jit
def say_that_waits(view, state, index):
    """Say to the host that a wait begins, and for which counter."""
    number = tl.load(state + WAIT_NUMBER) + 1
    tl.store(state + WAIT_NUMBER, number)
    tl.store(control_at(view, WAITS), number.to(tl.int32))
    tl.store(control_at(view, WAITING), index + 1)


@triton.jit
def tell_missing(view, missing, RANKS: tl.constexpr, RANK_LANES: tl.constexpr):
    """Say to the host which ranks are waited for."""
    lane = tl.arange(0, RANK_LANES)
    flags = control_at(view, EXCUSED + RANKS) + lane
    tl.store(flags, missing.to(tl.int32), mask=lane < RANKS)
    tl.store(control_at(view, TOLD), 1)


@triton.jit
def await_counters(
    view,
    state,
    round_in,
    expected,
    arrived_out,
    excused_out,
    wait_us,
    INDEX: tl.constexpr,
    SEALED: tl.constexpr,
    FROM_ROUND: tl.constexpr,
    TIMED: tl.constexpr,
    RANKS: tl.constexpr,
    RANK_LANES: tl.constexpr,
    NUM_COUNTERS: tl.constexpr,
    BACKEND: tl.constexpr,
):
    """One program: wait until the counter of each rank is ready, and start its next round.

    A counter is ready when it is sealed and complete (SEALED), or has `expected[rank]` arrivals.
    Writes `arrived_out` [ranks]: 1 where it was, 0 where the rank is excused or the wait was
    stopped; and `excused_out` [ranks], for the kernels that follow. With TIMED adds the
    microseconds waited for each rank to `wait_us`. Rounds before FROM_ROUND have nothing to wait
    for.
    """
    round_ = tl.load(round_in)
    index = INDEX + (round_ & 1).to(tl.int32)
    lane = tl.arange(0, RANK_LANES)
    known = lane < RANKS
    counter = words_at(tl.load(view + COUNTERS)) + lane * NUM_COUNTERS + index
    wanted = tl.load(expected + lane, mask=known, other=0).to(tl.int64)
    say_that_waits(view, state, index)
    start = clock_ns(BACKEND)
    waited = tl.zeros((RANK_LANES,), tl.int64)
    idle = round_ < FROM_ROUND
    done = ~known
    excused = tl.zeros((RANK_LANES,), tl.int32)
    arrived = tl.zeros((RANK_LANES,), tl.int32)
    turn = tl.full((), 0, tl.int32)
    open_ = tl.full((), 1, tl.int32)
    while open_ != 0:
        word = tl.load(counter, mask=known, other=0, volatile=True)
        stopped = tl.full((), 0, tl.int32)
        # The table of the host costs as much as the counters, and changes once in a lifetime.
        if turn % LOOK_EVERY == 0:
            excused = tl.load(control_at(view, EXCUSED) + lane, mask=known, other=1, volatile=True)
            stopped = poll(control_at(view, STOP))
        turn += 1
        ready = is_ready(word, wanted, SEALED) & known & (idle == 0)
        if TIMED:
            waited = tl.where(ready & (arrived == 0), clock_ns(BACKEND) - start, waited)
        arrived = tl.where(ready, 1, arrived)
        done = done | ready | (excused != 0) | idle
        if stopped == TELL:
            tell_missing(view, ~done, RANKS, RANK_LANES)
        open_ = tl.where(stopped == GIVE_UP, 0, tl.max((~done).to(tl.int32), 0))
    tl.store(counter, tl.zeros((RANK_LANES,), tl.int64), mask=known & (arrived != 0))
    fence_system(state + FENCE, BACKEND)
    tl.store(arrived_out + lane, arrived, mask=known)
    tl.store(excused_out + lane, excused, mask=known)
    tl.store(control_at(view, WAITING), 0)
    if TIMED:
        total = tl.load(wait_us + lane, mask=known, other=0)
        tl.store(wait_us + lane, total + waited // 1000, mask=known & (arrived != 0))
