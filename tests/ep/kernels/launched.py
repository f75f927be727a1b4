"""What tests launch to reach the functions of the kernels."""

from __future__ import annotations

import triton
import triton.language as tl

from crossdock.ep.kernels.bf16 import bf16_bits
from crossdock.ep.kernels.fp8 import block_scales, exponent_byte, to_fp8
from crossdock.ep.kernels.ring import ADD, push, signal_low, write_high, write_low


@triton.jit
def pack(fields, low_out, high_out, count, LANES: tl.constexpr):
    """Commands of `fields` [9, count]: op, peer, bytes, regions and offsets, counter, value."""
    lane = tl.arange(0, LANES)
    known = lane < count
    op = tl.load(fields + lane, mask=known, other=0)
    peer = tl.load(fields + count + lane, mask=known, other=0)
    size = tl.load(fields + 2 * count + lane, mask=known, other=16)
    from_region = tl.load(fields + 3 * count + lane, mask=known, other=0)
    from_at = tl.load(fields + 4 * count + lane, mask=known, other=0)
    to_region = tl.load(fields + 5 * count + lane, mask=known, other=0)
    to_at = tl.load(fields + 6 * count + lane, mask=known, other=0)
    counter = tl.load(fields + 7 * count + lane, mask=known, other=0)
    value = tl.load(fields + 8 * count + lane, mask=known, other=0)
    moves = size > 0
    written = write_low(op, peer, size, from_region, to_region, counter, value)
    low = tl.where(moves, written, signal_low(op, peer, counter, value))
    tl.store(low_out + lane, low, mask=known)
    tl.store(high_out + lane, tl.where(moves, write_high(from_at, to_at), 0), mask=known)


@triton.jit
def push_values(
    view, state, values, counter, pushes,
    PEER: tl.constexpr, BATCH: tl.constexpr, RINGS: tl.constexpr, CAPACITY: tl.constexpr,
):  # fmt: skip
    """Each program adds its values [pushes, BATCH] to a counter, but for those that are 0."""
    program = tl.program_id(0)
    lane = tl.arange(0, BATCH)
    zero = tl.zeros((BATCH,), tl.int64)
    for number in range(pushes):
        value = tl.load(values + (program * pushes + number) * BATCH + lane)
        low = signal_low(zero + ADD, zero + PEER, zero + counter, value)
        push(view, state, program % RINGS, low, zero, value > 0, CAPACITY, "interpreter")


@triton.jit
def cast_fp8(x, cast_out, scale_out, exponent_out, FORMAT: tl.constexpr, BLOCKS: tl.constexpr):
    """bf16 [BLOCKS, 128] in the format."""
    block = tl.arange(0, BLOCKS)
    at = block[:, None] * 128 + tl.arange(0, 128)[None, :]
    values = tl.load(x + at).to(tl.float32)
    scale, factor = block_scales(values, FORMAT)
    tl.store(cast_out + at, to_fp8(values, factor))
    tl.store(scale_out + block, scale)
    tl.store(exponent_out + block, exponent_byte(scale))


@triton.jit
def cast_bf16(x, out, count, LANES: tl.constexpr):
    """float32 [count] to the bits of bf16."""
    at = tl.program_id(0) * LANES + tl.arange(0, LANES)
    tl.store(out + at, bf16_bits(tl.load(x + at, mask=at < count)), mask=at < count)
