"""The tables by which kernels find what they share with the proxies.

*View*: int64 addresses, written when a Buffer is built. *State*: int64 on the device, what only
kernels write. *Control*: int32 in memory of the host that both sides see.

| view at | holds the address of |
|---|---|
| COUNTERS | the counters, [rank][counter] |
| CONTROL | the control table |
| STAGED | this rank's low-latency region for what proxies carry: DIRECT, or in memory of the host |
| REGION | no address: the region that commands name for STAGED |
| DIRECT | this rank's low-latency region in memory of the device; 0 without one |
| MAIN, HEAP | this rank's main region and its heap, both memory of the host |
| RINGS.. | each ring |
| PEERS.. | each rank's DIRECT region as this rank sees it; 0 where only proxies reach it |
| behind them | each rank's inbox for rows of the normal mode, likewise |
"""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.proxy._native import Communicator

MAX_RINGS = 64

COUNTERS = tl.constexpr(0)
CONTROL = tl.constexpr(1)
STAGED = tl.constexpr(2)
DIRECT = tl.constexpr(3)
MAIN = tl.constexpr(4)
HEAP = tl.constexpr(5)
REGION = tl.constexpr(6)
RINGS = tl.constexpr(8)
PEERS = tl.constexpr(8 + MAX_RINGS)

ROUND = tl.constexpr(0)
DISPATCH_DONE = tl.constexpr(1)
COMBINE_DONE = tl.constexpr(2)
FENCE = tl.constexpr(3)  # what fences are made on
WAIT_NUMBER = tl.constexpr(4)
HEADER_ROUND = tl.constexpr(5)  # of the normal mode
GRANT_ROUND = tl.constexpr(6)
DISPATCHES = tl.constexpr(7)  # how many dispatches have made a handle
TICKETS = tl.constexpr(8)  # the next ticket of each ring
CREDITS = tl.constexpr(8 + MAX_RINGS)  # what the proxy had popped when it was last looked at
STATE_WORDS = 8 + 2 * MAX_RINGS

STOP = tl.constexpr(0)  # host to device: GIVE_UP all waits, or TELL who is missing
WAITING = tl.constexpr(1)  # device to host: the counter that is waited for, plus one
WAITS = tl.constexpr(2)  # device to host: how many waits have begun
BAD_INDEX = tl.constexpr(3)  # device to host: a topk_idx that is no expert, plus one
MISMATCH = tl.constexpr(4)  # device to host: a rank with another shape, plus one
THEIR_SHAPE = tl.constexpr(5)  # device to host: its max tokens, hidden, experts, top-k, format
TOLD = tl.constexpr(10)  # device to host: it has told who is missing
DISAGREEMENT = tl.constexpr(11)  # device to host: a rank with which the normal mode cannot go on,
# plus one; then its refusal, or the number of a field, its value there, and this rank's
BAD_COUNT = tl.constexpr(16)  # device to host: a rank whose num_tokens_per_rank is wrong, plus one
TOO_MANY = tl.constexpr(17)  # device to host: rows for which num_worst_tokens is too small
BAD_HANDLE = tl.constexpr(18)  # device to host: a handle is of a dispatch that failed
EXCUSED = tl.constexpr(32)  # host to device: a flag for each rank that is masked; then, device to
# host, a flag for each rank that was missing when it was to TELL

GIVE_UP = tl.constexpr(1)
TELL = tl.constexpr(2)

MAIN_REGION = tl.constexpr(0)
HEAP_REGION = tl.constexpr(1)

RING_POPPED_AT = tl.constexpr(Communicator.RING_POPPED_AT)
RING_COMPLETED_AT = tl.constexpr(Communicator.RING_COMPLETED_AT)
RING_SLOTS_AT = tl.constexpr(Communicator.RING_SLOTS_AT)


@triton.jit
def words_at(address):
    """An address as a pointer to 64-bit words."""
    return address.to(tl.pointer_type(tl.int64))


@triton.jit
def halves_at(address):
    """An address as a pointer to 32-bit words."""
    return address.to(tl.pointer_type(tl.int32))


@triton.jit
def bytes_at(address):
    """An address as a pointer to bytes."""
    return address.to(tl.pointer_type(tl.uint8))


@triton.jit
def control_at(view, index):
    """A cell of the control table."""
    return halves_at(tl.load(view + CONTROL)) + index


@triton.jit
def direct_to(view, rank, active):
    """The region of a rank that this device can write into, or 0."""
    return tl.load(view + PEERS + rank, mask=active, other=0)


@triton.jit
def inbox_of(view, rank, active, RANKS: tl.constexpr):
    """The inbox of a rank that this device can write into, or 0; that of this rank as well."""
    return tl.load(view + PEERS + RANKS + rank, mask=active, other=0)


@triton.jit
def base_from(view, rank, active):
    """Where what a rank sends to this one arrives."""
    # No load waits for another.
    mine = tl.load(view + DIRECT)
    return tl.where(direct_to(view, rank, active) != 0, mine, tl.load(view + STAGED))
