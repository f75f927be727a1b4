"""What ranks do in the tests of launching."""

from __future__ import annotations

import os
import signal
import time

import torch
import torch.distributed as dist

from crossdock.bench.ranks import Rank


def introduce(rank: Rank, greeting: str) -> bytes:
    """Everybody's greeting, and where they run."""
    rank.tell(1, 2, "half way")
    rank.meet()
    mine = f"{greeting} {rank.rank}/{rank.size} on {sorted(os.sched_getaffinity(0))}"
    everybody = rank.gather(mine.encode())
    total = torch.tensor([rank.rank + 1])
    dist.all_reduce(total)
    return b"; ".join([*everybody, str(int(total)).encode(), str(rank.one_clock).encode()])


def raise_on_the_last(rank: Rank, message: str) -> bytes:
    """One fails, the others wait for it."""
    if rank.rank == rank.size - 1:
        raise ValueError(message)
    rank.meet()
    return b""


def die_on_the_last(rank: Rank, _: object) -> bytes:
    """One dies without a word."""
    if rank.rank == rank.size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    rank.meet()
    return b""


def oversleep(rank: Rank, seconds: float) -> bytes:
    """Nobody is done in time."""
    time.sleep(seconds)
    return b""
