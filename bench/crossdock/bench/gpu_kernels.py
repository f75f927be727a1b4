"""What `bench gpu` launches beside the kernels of crossdock."""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.ep.kernels.ring import ADD, push, signal_low
from crossdock.ep.kernels.system import clock_ns, fence_system, poll
from crossdock.ep.kernels.view import COUNTERS, FENCE, STOP, control_at, words_at


@triton.jit
def flood(
    view,
    state,
    pushes,
    PEER: tl.constexpr,
    COUNTER: tl.constexpr,
    BATCH: tl.constexpr,
    RINGS: tl.constexpr,
    CAPACITY: tl.constexpr,
    BACKEND: tl.constexpr,
):
    """Each program pushes BATCH additions to a counter, `pushes` times, into one of the rings."""
    lane = tl.arange(0, BATCH)
    zero = tl.zeros((BATCH,), tl.int64)
    low = signal_low(zero + ADD, zero + PEER, zero + COUNTER, zero + 1)
    for _ in range(pushes):
        ring = tl.program_id(0) % RINGS
        push(view, state, ring, low, zero, lane < BATCH, CAPACITY, BACKEND)


@triton.jit
def ping(
    view,
    state,
    nanoseconds,
    exchanges,
    PEER: tl.constexpr,
    COUNTER: tl.constexpr,
    NUM_COUNTERS: tl.constexpr,
    RINGS: tl.constexpr,
    CAPACITY: tl.constexpr,
    BACKEND: tl.constexpr,
):
    """One program adds to a counter of this rank, by way of the proxy, and waits to see it."""
    counter = words_at(tl.load(view + COUNTERS)) + PEER * NUM_COUNTERS + COUNTER
    one = tl.arange(0, 1)
    zero = tl.zeros((1,), tl.int64)
    low = signal_low(zero + ADD, zero + PEER, zero + COUNTER, zero + 1)
    seen = poll(counter)
    for number in range(exchanges):
        start = clock_ns(BACKEND)
        push(view, state, number % RINGS, low, zero, one == 0, CAPACITY, BACKEND)
        stopped = poll(control_at(view, STOP))
        while (poll(counter) == seen) & (stopped == 0):
            stopped = poll(control_at(view, STOP))
        fence_system(state + FENCE, BACKEND)
        tl.store(nanoseconds + number, clock_ns(BACKEND) - start)
        seen += 1
