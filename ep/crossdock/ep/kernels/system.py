"""What a kernel does to be understood outside of its GPU, by proxies and by peers."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def fence_system(cell, FENCE_BY: tl.constexpr):
    """What any thread of this program has written is visible to hosts and peers before whatever
    any of its threads writes next; and what it reads next is not older than what it has read.

    Args:
        cell: int64 of the device that nobody reads.
        FENCE_BY: cuda or hip: each warp fences, which is the quickest for programs of one warp.
            Anything else: one thread fences for all by an atomic operation on `cell`; with eight
            warps in each of many programs that took half the time on an H100.
    """
    if FENCE_BY == "cuda":
        tl.inline_asm_elementwise(
            "fence.acq_rel.sys; mov.u32 $0, 0;", "=r", [], dtype=tl.int32, is_pure=False, pack=1
        )
        tl.debug_barrier()
    elif FENCE_BY == "hip":
        tl.inline_asm_elementwise(
            "s_waitcnt vmcnt(0) lgkmcnt(0)\n"
            "buffer_wbl2 sc0 sc1\n"
            "s_waitcnt vmcnt(0)\n"
            "buffer_inv sc0 sc1\n"
            "v_mov_b32 $0, 0",
            "=v",
            [],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )
        tl.debug_barrier()
    else:
        tl.debug_barrier()
        tl.atomic_add(cell, tl.full((), 0, tl.int64), sem="acq_rel", scope="sys")
        tl.debug_barrier()


@triton.jit
def poll(pointer):
    """The value now, past all caches; `fence_system` before anything that depends on it.

    Of memory of the host: a GPU reads one line of it once a microsecond, whoever asks, so that a
    read in each of many programs costs milliseconds. One program reads for all.
    """
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
