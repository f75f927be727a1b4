"""A rank of a benchmark: where it runs, how it meets the others, how it reports."""

from __future__ import annotations

import ctypes
import datetime
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store

from crossdock import proxy
from crossdock.bench import _native, machine
from crossdock.bench.errors import BenchFailed
from crossdock.proxy import StoreExchange
from crossdock.proxy.topology import host_identity

CACHE_LINE = 64
MEETING_BYTES = _native.MEETING_BYTES + CACHE_LINE
"""Shared bytes that a meeting needs, room to align it among them."""

Tell = Callable[[int, int, str], None]
"""Progress: steps done, steps in all, what is next."""


@dataclass
class Rank:
    """What the body of a rank works with; the default process group is gloo's."""

    rank: int
    size: int
    cpus: tuple[int, ...]
    """The cores that this rank is pinned to."""
    all_cpus: tuple[int, ...]
    """Those that it was started with, before it was pinned."""
    store: Store
    deadline_s: float
    tell: Tell
    meeting: int | None = None
    """Address of the shared meeting; None where ranks were started by somebody else."""
    one_clock: bool = True
    """Whether the clocks of all ranks are one."""
    _exchanges: int = field(default=0, init=False)

    def exchange(self) -> StoreExchange:
        """A new exchange of all ranks; every rank must ask for as many."""
        self._exchanges += 1
        return StoreExchange(
            cast("proxy.Store", self.store), self.rank, self.size, f"bench/{self._exchanges}"
        )

    def meet(self) -> None:
        """Wait for all ranks, and leave at the same moment as they.

        The first meeting may be long and sleeps; after it the second is short and stays awake.
        """
        if self.meeting is None:
            dist.barrier()
            return
        for _ in range(2):
            if not _native.meet(self.meeting, self.size, self.deadline_s):
                raise BenchFailed(f"rank {self.rank}: others did not come in {self.deadline_s:g} s")

    def gather(self, data: bytes) -> list[bytes]:
        """The bytes of every rank."""
        return self.exchange().all_gather(data, self.deadline_s)


def cores_of(rank: int, size: int, cpus: Sequence[int]) -> tuple[int, ...]:
    """The cores for a rank: an even share where there are enough, else one in turn."""
    each = max(1, len(cpus) // size)
    first = rank * each % len(cpus)
    return tuple(cpus[first : first + each])


def enter(
    rank: int, size: int, cpus: Sequence[int], store: Store, deadline_s: float, tell: Tell
) -> Rank:
    """Pin this process and make it a rank of a gloo group."""
    all_cpus = machine.cpuset()
    os.sched_setaffinity(0, cpus)
    torch.set_num_threads(len(cpus))
    limit = datetime.timedelta(seconds=deadline_s)
    store.set_timeout(limit)
    dist.init_process_group(
        "gloo", store=PrefixStore("gloo", store), rank=rank, world_size=size, timeout=limit
    )
    entered = Rank(rank, size, tuple(cpus), all_cpus, store, deadline_s, tell)
    hosts = entered.gather(host_identity().encode())
    entered.one_clock = len(set(hosts)) == 1
    return entered


def aligned_address(shared: ctypes.Array[ctypes.c_ubyte]) -> int:
    """The first cache line in shared bytes; the same place in every process that maps them."""
    return -(-ctypes.addressof(shared) // CACHE_LINE) * CACHE_LINE
