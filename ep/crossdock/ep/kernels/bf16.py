"""The rounding from float32 to bf16, to nearest even, in integer arithmetic: not every way in which
a kernel runs rounds by itself.
"""

from __future__ import annotations

import triton
import triton.language as tl

_NAN = tl.constexpr(0x7FC0)


@triton.jit
def bf16_bits(values):
    """The bits, int16, of float32 values as bf16."""
    bits = values.to(tl.int32, bitcast=True)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return tl.where(values == values, rounded, _NAN).to(tl.int16)
