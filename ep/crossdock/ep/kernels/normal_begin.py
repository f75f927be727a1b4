"""The begin of a call of the normal mode: what the last one sent is acknowledged."""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.ep._native import NUM_COUNTERS
from crossdock.ep.kernels.normal_control import GOING, GRANTS, HEADERS, REFUSED
from crossdock.ep.kernels.ring import peer_of
from crossdock.ep.kernels.system import fence_system, poll
from crossdock.ep.kernels.view import (
    BAD_HANDLE,
    DISPATCHES,
    FENCE,
    GIVE_UP,
    GRANT_ROUND,
    HEADER_ROUND,
    RING_COMPLETED_AT,
    RING_SLOTS_AT,
    RINGS,
    STOP,
    TELL,
    TICKETS,
    WAITING,
    control_at,
    words_at,
)
from crossdock.ep.kernels.waiting import say_that_waits, tell_missing

ACKNOWLEDGED = tl.constexpr(NUM_COUNTERS)
"""Stands for a counter where one is named that is waited for."""


@triton.jit
def await_rings(
    view, state,
    NUM_RINGS: tl.constexpr, RING_LANES: tl.constexpr, RANKS: tl.constexpr,
    RANK_LANES: tl.constexpr, CAPACITY: tl.constexpr, BACKEND: tl.constexpr,
):  # fmt: skip
    """Wait until every command so far is acknowledged: what it refers to may be written anew."""
    ring = tl.arange(0, RING_LANES)
    known = ring < NUM_RINGS
    wanted = tl.load(state + TICKETS + ring, mask=known, other=0)
    address = tl.load(view + RINGS + ring, mask=known, other=0)
    say_that_waits(view, state, ACKNOWLEDGED)
    open_ = tl.full((), 1, tl.int32)
    while open_ != 0:
        at = words_at(address + RING_COMPLETED_AT)
        completed = tl.load(at, mask=known, other=0, volatile=True)
        behind = known & (completed < wanted)
        stopped = poll(control_at(view, STOP))
        if stopped == TELL:
            # The peer of the oldest command of each ring.
            slot = words_at(address + RING_SLOTS_AT) + 2 * (completed & (CAPACITY - 1))
            peer = peer_of(tl.load(slot, mask=behind, other=0))
            lane = tl.arange(0, RANK_LANES)
            missed = (lane[:, None] == peer[None, :]) & behind[None, :]
            tell_missing(view, tl.max(missed.to(tl.int32), 1) != 0, RANKS, RANK_LANES)
        open_ = tl.where(stopped == GIVE_UP, 0, tl.max(behind.to(tl.int32), 0))
    fence_system(state + FENCE, BACKEND)
    tl.store(control_at(view, WAITING), 0)


@triton.jit
def begin(
    view, state, course, number,
    MAKES_HANDLE: tl.constexpr, NUM_RINGS: tl.constexpr, RING_LANES: tl.constexpr,
    RANKS: tl.constexpr, RANK_LANES: tl.constexpr, CAPACITY: tl.constexpr, BACKEND: tl.constexpr,
):  # fmt: skip
    """One program: wait for the end of the last call, and set the course of this one.

    With MAKES_HANDLE writes `number` [1], that of a new dispatch; else it is that of the handle,
    -1 when its dispatch has failed. Then the call fails too.
    """
    await_rings(view, state, NUM_RINGS, RING_LANES, RANKS, RANK_LANES, CAPACITY, BACKEND)
    usable = tl.full((), 1, tl.int32)
    if MAKES_HANDLE:
        new = tl.load(state + DISPATCHES) + 1
        tl.store(state + DISPATCHES, new)
        tl.store(number, new)
    else:
        usable = (tl.load(number) >= 0).to(tl.int32)
        if usable == 0:
            tl.store(control_at(view, BAD_HANDLE), 1)
    none = tl.full((), -1, tl.int64)
    tl.store(course + HEADERS, tl.load(state + HEADER_ROUND))
    tl.store(course + GRANTS, tl.where(usable != 0, tl.load(state + GRANT_ROUND), none))
    tl.store(course + GOING, none)
    tl.store(course + REFUSED, tl.full((), 0, tl.int64))
