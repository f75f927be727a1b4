"""What a kernel does to be understood outside of its GPU, by proxies and by peers."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def fence_system(cell):
    """What any thread of this program has written is visible to hosts and peers before whatever
    any of its threads writes next; and what it reads next is not older than what it has read.

    One thread fences for all of them, with an atomic operation on `cell`, int64 of the device that
    nobody reads: a fence in each thread cost 4 ms in a kernel of 544 programs on an H100.
    """
    tl.debug_barrier()
    tl.atomic_add(cell, tl.full((), 0, tl.int64), sem="acq_rel", scope="sys")
    tl.debug_barrier()


@triton.jit
def poll(pointer):
    """The value now, past all caches; `fence_system` before anything that depends on it."""
    return tl.load(pointer, volatile=True)


@triton.jit
def clock_ns(BACKEND: tl.constexpr):
    """Nanoseconds of a clock that runs on; 0 in the interpreter, which measures nothing."""
    if BACKEND == "cuda":
        now = tl.inline_asm_elementwise(
            "mov.u64 $0, %globaltimer;", "=l", [], dtype=tl.int64, is_pure=False, pack=1
        )
    elif BACKEND == "hip":
        # 100 MHz on the CDNA3 generation.
        now = 10 * tl.inline_asm_elementwise(
            "s_memrealtime $0\ns_waitcnt lgkmcnt(0)",
            "=s",
            [],
            dtype=tl.int64,
            is_pure=False,
            pack=1,
        )
    else:
        now = tl.full((), 0, tl.int64)
    return now
