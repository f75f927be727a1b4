"""LogFMT, the 10-bit logarithmic format of low-latency combine; see ``reference.logfmt``.

A block of 128 channels takes 168 bytes: the logarithm of its least magnitude and the step between
codes, float32 each, then a sign and a code of 9 bits for each channel, four to five bytes.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

BLOCK_BYTES = tl.constexpr(168)
_HEAD_BYTES = tl.constexpr(8)
_OCTAVES_MAX = tl.constexpr(32.0)
_STEPS = tl.constexpr(510.0)
_INFINITY = tl.constexpr(0x7F80)
_MAGNITUDE = tl.constexpr(0x7FFF)
_SIGN = tl.constexpr(0x200)
_CODE = tl.constexpr(0x1FF)
_LINEAR = tl.constexpr(math.log(2) / 8)
_CUBIC = tl.constexpr(math.log(2) ** 3 / 192)


@triton.jit
def _scale(magnitude, log2_of):
    """Of bf16 magnitudes [n, 128] as int32: logarithm of the least, and step, float32 [n]."""
    most = tl.max(magnitude, 1)
    nonzero = tl.min(tl.where(magnitude == 0, _MAGNITUDE + 1, magnitude), 1)
    least = tl.where(most == 0, 0, nonzero)
    high = tl.load(log2_of + most)
    lowest = high - _OCTAVES_MAX
    low = tl.load(log2_of + least)
    low = tl.where(low > lowest, low, lowest)
    step = tl.math.div_rn(high - low, tl.full(high.shape, _STEPS, tl.float32))
    finite = most < _INFINITY
    return tl.where(finite, low, float("nan")), tl.where(finite, step, 0.0)


@triton.jit
def encode_row(source, target, log2_of, HIDDEN: tl.constexpr, BLOCKS: tl.constexpr):
    """Write a row of bf16 in the format; `log2_of` holds the logarithm of each magnitude."""
    channels = tl.multiple_of(source.to(tl.pointer_type(tl.int16)), 16)
    for start in range(0, HIDDEN // 128, BLOCKS):
        block = start + tl.arange(0, BLOCKS)
        inside = block < HIDDEN // 128
        at = block[:, None] * 128 + tl.arange(0, 128)[None, :]
        bits = tl.load(channels + at, mask=inside[:, None], other=0).to(tl.int32) & 0xFFFF
        magnitude = bits & _MAGNITUDE
        low, step = _scale(magnitude, log2_of)
        s = step.to(tl.float64)
        # 2 - log2((1 + 2^s) / 2) / s by its series: rounds to the nearer value, not logarithm.
        nearer = (s * s * s * _CUBIC - s * _LINEAR + 1.5).to(tl.float32)
        divisor = tl.where(step != 0, step, 1.0)
        distance = tl.load(log2_of + magnitude) - low[:, None]
        wide = tl.broadcast_to(divisor[:, None], distance.shape)
        position = tl.math.div_rn(distance, wide) + nearer[:, None]
        code = tl.where(position > 1.0, position, 1.0).to(tl.int32)
        value = tl.where(magnitude == 0, 0, code | ((bits >> 6) & _SIGN))
        quads = tl.reshape(value.to(tl.int64), (BLOCKS, 32, 4))
        shift = (10 * tl.arange(0, 4)).to(tl.int64)
        packed = tl.sum(quads << shift[None, None, :], 2)
        head = target + block.to(tl.int64) * BLOCK_BYTES
        floats = head.to(tl.pointer_type(tl.float32))
        tl.store(floats, low, mask=inside)
        tl.store(floats + 1, step, mask=inside)
        byte = tl.arange(0, 8)[None, None, :]
        values = (packed[:, :, None] >> (8 * byte).to(tl.int64)) & 0xFF
        quad = tl.arange(0, 32)[None, :, None]
        to = (head + _HEAD_BYTES).to(tl.pointer_type(tl.uint8))[:, None, None] + 5 * quad + byte
        tl.store(to, values.to(tl.uint8), mask=inside[:, None, None] & (byte < 5))


@triton.jit
def decode_blocks(source, start, known, HIDDEN: tl.constexpr, BLOCKS: tl.constexpr):
    """BLOCKS blocks of a row in the format, from block `start` on, as float32 [BLOCKS, 32, 4];
    0 where the row is not `known`."""
    block = start + tl.arange(0, BLOCKS)
    inside = known & (block < HIDDEN // 128)
    head = source + block.to(tl.int64) * BLOCK_BYTES
    floats = head.to(tl.pointer_type(tl.float32))
    low = tl.load(floats, mask=inside, other=0.0)
    step = tl.load(floats + 1, mask=inside, other=0.0)
    byte = tl.arange(0, 8)[None, None, :]
    quad = tl.arange(0, 32)[None, :, None]
    from_ = (head + _HEAD_BYTES).to(tl.pointer_type(tl.uint8))[:, None, None] + 5 * quad + byte
    there = inside[:, None, None] & (byte < 5)
    packed = tl.sum(tl.load(from_, mask=there, other=0).to(tl.int64) << (8 * byte).to(tl.int64), 2)
    shift = (10 * tl.arange(0, 4)).to(tl.int64)
    value = ((packed[:, :, None] >> shift[None, None, :]) & 0x3FF).to(tl.int32)
    code = value & _CODE
    exponent = (code - 1).to(tl.float32) * step[:, None, None] + low[:, None, None]
    magnitude = tl.exp2(exponent)
    bits = magnitude.to(tl.int32, bitcast=True)
    # As bf16, to nearest even; a NaN stays one.
    near = tl.where(magnitude == magnitude, bits + 0x7FFF + ((bits >> 16) & 1), bits)
    signed = (near & -65536) | ((value & _SIGN) << 22)
    return tl.where(code == 0, 0, signed).to(tl.float32, bitcast=True)
