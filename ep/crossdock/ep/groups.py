"""How the ranks of a Buffer meet: through a torch process group, an MPI communicator, or any
``crossdock.proxy.Exchange``."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from crossdock.proxy import Exchange, StoreExchange
from crossdock.proxy.errors import ArgumentError, TransportError

_meetings: dict[tuple[str, tuple[int, ...]], itertools.count[int]] = {}


def exchange_of(group: object, comm: object = None) -> Exchange:
    """The exchange for what the caller of ``Buffer`` passed.

    Raises:
        ArgumentError: it is none of the three.
    """
    if comm is not None:
        return MpiExchange(comm)
    if isinstance(group, dist.ProcessGroup):
        store = _store_of(group)
        if store is None:
            return GroupExchange(group)
        return StoreExchange(store, group.rank(), group.size(), _fresh_prefix(group))
    if hasattr(group, "all_gather") and hasattr(group, "rank") and hasattr(group, "size"):
        exchange: Exchange = group
        return exchange
    raise ArgumentError(
        f"group is {group!r}; pass a torch.distributed process group, a crossdock.proxy.Exchange, "
        "or comm= an mpi4py communicator"
    )


def _fresh_prefix(group: dist.ProcessGroup) -> str:
    """What no meeting in the store of this group has used. A group that is made anew after
    ``destroy_process_group`` has the name of the old one, and may have its store with all its keys.
    """
    key = (group.group_name, tuple(dist.get_process_group_ranks(group)))
    return f"crossdock/{next(_meetings.setdefault(key, itertools.count()))}"


def _store_of(group: dist.ProcessGroup) -> Any:
    """The group's own store: unlike a collective, it can tell who is missing."""
    find = getattr(distributed_c10d, "_get_process_group_store", None)
    try:
        return None if find is None else find(group)
    except (KeyError, RuntimeError, AssertionError):
        return None


class GroupExchange:
    """Meets by collectives of a process group, where its store is out of reach."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.rank = group.rank()
        self.size = group.size()
        self._group = group
        on_gpu = "gloo" not in dist.get_backend(group) and torch.cuda.is_available()
        self._device = torch.device("cuda" if on_gpu else "cpu")

    def all_gather(self, data: bytes, deadline_s: float) -> list[bytes]:
        """See ``Exchange.all_gather``."""
        try:
            if self._device.type == "cpu":
                timeout = datetime.timedelta(seconds=deadline_s)
                dist.monitored_barrier(self._group, timeout=timeout, wait_all_ranks=True)
            lengths = self._gather(torch.tensor([len(data)], dtype=torch.int64, device="cpu"))
            longest = int(torch.stack(lengths).max())
            parts = self._gather(
                torch.tensor(list(data.ljust(longest, b"\0")), dtype=torch.uint8, device="cpu")
            )
        except RuntimeError as error:
            raise TransportError(f"rank {self.rank}: the process group failed: {error}") from error
        return [
            bytes(part[: int(length)].tolist()) for part, length in zip(parts, lengths, strict=True)
        ]

    def _gather(self, mine: torch.Tensor) -> list[torch.Tensor]:
        mine = mine.to(self._device)
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(parts, mine, group=self._group)
        return [part.cpu() for part in parts]


class MpiExchange:
    """Meets through an mpi4py communicator, whose own collectives know no deadline."""

    def __init__(self, comm: Any) -> None:
        self.rank = int(comm.Get_rank())
        self.size = int(comm.Get_size())
        self._comm = comm

    def all_gather(self, data: bytes, deadline_s: float) -> list[bytes]:
        """See ``Exchange.all_gather``; ``deadline_s`` is up to MPI."""
        del deadline_s
        length = torch.tensor([len(data)], dtype=torch.int64, device="cpu").numpy()
        lengths = torch.empty(self.size, dtype=torch.int64, device="cpu").numpy()
        self._comm.Allgather(length, lengths)
        whole = bytearray(int(lengths.sum()))
        self._comm.Allgatherv(data, [whole, lengths.tolist()])
        ends = list(itertools.accumulate(int(n) for n in lengths))
        return [bytes(whole[end - int(n) : end]) for end, n in zip(ends, lengths, strict=True)]
