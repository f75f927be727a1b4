"""Commands into rings, from many programs at once; the fields are those of ``schema``.

Tickets are taken in memory of the device, which the host cannot add to atomically over PCIe; what
the proxy has popped is read from its ring only when the credits remembered on the device are used
up. A slot's low word, which holds the phase, is stored after a fence behind everything that the
command refers to, the slot's high word among it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.ep.kernels.system import fence_system, poll
from crossdock.ep.kernels.view import (
    CREDITS,
    FENCE,
    GIVE_UP,
    RING_POPPED_AT,
    RING_SLOTS_AT,
    RINGS,
    STOP,
    TICKETS,
    control_at,
    words_at,
)
from crossdock.proxy import schema

GRANULE = tl.constexpr(schema.GRANULE_BYTES)
_OP = tl.constexpr(schema.FIELD["op"].shift)
_PEER = tl.constexpr(schema.FIELD["peer"].shift)
_MAX_PEER = tl.constexpr(schema.FIELD["peer"].limit)
_LENGTH = tl.constexpr(schema.FIELD["length"].shift)
_SRC_REGION = tl.constexpr(schema.FIELD["src_region"].shift)
_DST_REGION = tl.constexpr(schema.FIELD["dst_region"].shift)
_COUNTER = tl.constexpr(schema.FIELD["counter"].shift)
_VALUE = tl.constexpr(schema.FIELD["value"].shift)
_SRC_OFFSET = tl.constexpr(schema.FIELD["src_offset"].shift - 64)
_DST_OFFSET = tl.constexpr(schema.FIELD["dst_offset"].shift - 64)

WRITE_ADD = tl.constexpr(int(schema.Op.WRITE_ADD))
WRITE_SEAL = tl.constexpr(int(schema.Op.WRITE_SEAL))
ADD = tl.constexpr(int(schema.Op.ADD))
SEAL = tl.constexpr(int(schema.Op.SEAL))


@triton.jit
def write_low(op, peer, size, src_region, dst_region, counter, value):
    """Low word of a command that moves `size` bytes; arguments are int64."""
    length = size // GRANULE - 1
    regions = (src_region << _SRC_REGION) | (dst_region << _DST_REGION)
    return signal_low(op, peer, counter, value) | (length << _LENGTH) | regions


@triton.jit
def signal_low(op, peer, counter, value):
    """Low word of a command without a payload."""
    return (op << _OP) | (peer << _PEER) | (counter << _COUNTER) | (value << _VALUE)


@triton.jit
def write_high(src_offset, dst_offset):
    """High word: offsets in bytes."""
    return ((src_offset // GRANULE) << _SRC_OFFSET) | ((dst_offset // GRANULE) << _DST_OFFSET)


@triton.jit
def peer_of(low):
    """The peer of a command, of its low word."""
    return ((low >> _PEER) & _MAX_PEER).to(tl.int32)


@triton.jit
def push(view, state, ring, low, high, wanted, CAPACITY: tl.constexpr, FENCE_BY: tl.constexpr):
    """Push the commands of those lanes where `wanted`, after all that the program has written.

    Waits for room. When the Buffer is aborted meanwhile nothing is pushed any more.
    """
    one = wanted.to(tl.int64)
    count = tl.sum(one, 0)
    if count > 0:
        first = tl.atomic_add(state + TICKETS + ring, count, sem="relaxed")
        address = tl.load(view + RINGS + ring)
        popped = poll(state + CREDITS + ring)
        stopped = tl.full((), 0, tl.int32)
        if first + count - popped > CAPACITY:
            while (first + count - popped > CAPACITY) & (stopped != GIVE_UP):
                popped = poll(words_at(address + RING_POPPED_AT))
                stopped = poll(control_at(view, STOP))
            tl.store(state + CREDITS + ring, popped)
        ticket = first + tl.cumsum(one, 0) - one
        slot = words_at(address + RING_SLOTS_AT) + 2 * (ticket & (CAPACITY - 1))
        phase = ((ticket & CAPACITY) == 0).to(tl.int64)
        live = wanted & (stopped != GIVE_UP)
        tl.store(slot + 1, high, mask=live)
        fence_system(state + FENCE, FENCE_BY)
        tl.store(slot, low | phase, mask=live)
