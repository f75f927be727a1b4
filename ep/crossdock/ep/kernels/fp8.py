"""The cast to fp8 (e4m3fn) with one scale for each 128 channels, bit by bit that of ``reference``.

In integer arithmetic, so that it is the same on GPUs with and without fp8 instructions. Kernels
that use it are compiled without fused multiply-add.
"""

from __future__ import annotations

import triton
import triton.language as tl

BLOCK = tl.constexpr(128)
BF16, FP8, FP8_ROUND_SCALE, FP8_UE8M0 = (tl.constexpr(i) for i in range(4))

_FP8_MAX = tl.constexpr(448.0)
_AMAX_MIN = tl.constexpr(1e-4)
_INFINITY_BITS = tl.constexpr(0x7F800000)


@triton.jit
def block_scales(blocks, FORMAT: tl.constexpr):
    """Scale and factor, float32 [n], of float32 [n, 128]."""
    # As integers magnitudes are in order, with NaN on top, so that a NaN is not lost.
    magnitude = blocks.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    amax = tl.max(magnitude, 1).to(tl.float32, bitcast=True)
    amax = tl.where(amax < _AMAX_MIN, _AMAX_MIN, amax)
    scale = tl.math.div_rn(amax, tl.full(amax.shape, _FP8_MAX, tl.float32))
    if FORMAT == FP8:
        factor = tl.math.div_rn(tl.full(amax.shape, _FP8_MAX, tl.float32), amax)
    else:
        bits = scale.to(tl.int32, bitcast=True)
        exponent = (bits >> 23) + ((bits & 0x7FFFFF) != 0).to(tl.int32)
        power = (exponent << 23).to(tl.float32, bitcast=True)
        scale = tl.where(bits >= _INFINITY_BITS, scale, power)
        factor = tl.math.div_rn(tl.full(scale.shape, 1.0, tl.float32), scale)
    return scale, factor


@triton.jit
def to_fp8(blocks, factor):
    """The bytes, uint8, of float32 [n, 128] times factor [n]."""
    sign = (blocks.to(tl.int32, bitcast=True) >> 24) & 0x80
    magnitude = tl.abs(blocks) * factor[:, None]
    bits = magnitude.to(tl.int32, bitcast=True)
    # Rounds to nearest even at the third bit of the mantissa, and moves the bias from 127 to 7.
    normal = (bits - (120 << 23) + 0x7FFFF + ((bits >> 20) & 1)) >> 20
    # A unit in the last place of 2^14 is the unit of fp8's subnormals: the addition rounds.
    magic = tl.full(magnitude.shape, 16384.0, tl.float32)
    subnormal = (magnitude + magic).to(tl.int32, bitcast=True) - magic.to(tl.int32, bitcast=True)
    code = tl.where(magnitude < 0.015625, subnormal, normal)
    code = tl.where(magnitude == magnitude, code, 0x7F)
    return (code | sign).to(tl.uint8)


@triton.jit
def exponent_byte(scale):
    """The biased exponent of a float32, as uint8."""
    return ((scale.to(tl.int32, bitcast=True) >> 23) & 0xFF).to(tl.uint8)
