"""Copies of rows by address."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def copy_row(source, target, words, CHUNK: tl.constexpr):
    """Copy `words` 32-bit words between addresses that are multiples of 16 bytes."""
    # The compiler believes a hint at a cast, and not at what a function returns.
    lane = tl.arange(0, CHUNK)
    from_ = tl.multiple_of(source.to(tl.pointer_type(tl.int32)), 16)
    to = tl.multiple_of(target.to(tl.pointer_type(tl.int32)), 16)
    for first in range(0, words, CHUNK):
        inside = first + lane < words
        tl.store(to + first + lane, tl.load(from_ + first + lane, mask=inside), mask=inside)
