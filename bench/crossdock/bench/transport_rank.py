"""What the two ranks of ``bench transport`` do."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol

import msgspec
import torch
import torch.distributed as dist

from crossdock.bench import _native
from crossdock.bench.baselines import gloo, memcpy, sockets
from crossdock.bench.errors import BenchFailed
from crossdock.bench.ranks import Rank
from crossdock.bench.record import OURS, Series
from crossdock.proxy import FIRST_COUNTER, Communicator, Options

LEAST_EXCHANGES = 3
MOST_EXCHANGES = 200
MAIN_REGION = 0


class Plan(msgspec.Struct, frozen=True):
    """What to measure."""

    sizes: tuple[int, ...]
    transports: tuple[str, ...]
    rounds: int
    volume: int


class Link(Protocol):
    """One way to send bytes to the other rank."""

    @property
    def name(self) -> str:
        """As it stands in the report."""

    def begin(self, size: int) -> None:
        """Fill the source with this rank's pattern, and the destination with something else."""

    def exchange(self, size: int, count: int) -> list[float]:
        """One-way seconds of `count` ping-pongs, on rank 0; untold on the other."""

    def wrong(self, size: int) -> int | None:
        """1 when the destination does not hold what the other rank sent; None: not checked."""


class Halves:
    """A source and a destination in some memory."""

    def __init__(self, rank: int, src: torch.Tensor, dst: torch.Tensor) -> None:
        self._rank = rank
        self.src, self.dst = src, dst

    def begin(self, size: int) -> None:
        """See ``Link.begin``."""
        self.src[:size] = _pattern(self._rank, size)
        self.dst[:size] = 0

    def wrong(self, size: int) -> int | None:
        """See ``Link.wrong``."""
        return int(not torch.equal(self.dst[:size], _pattern(1 - self._rank, size)))


class OurLink(Halves):
    """Writes through a ring and a proxy, counted on arrival."""

    def __init__(self, rank: Rank, transport: str, largest: int) -> None:
        self.name = f"{OURS} {transport}"
        self._peer = 1 - rank.rank
        self._half = largest
        self._timeout_s = rank.deadline_s
        self.communicator = Communicator(
            rank.exchange(),
            Options.from_environment(transport=transport),
            main_bytes=3 * largest,
            num_counters=FIRST_COUNTER + 1,
        )
        memory = torch.from_numpy(self.communicator.region_array(MAIN_REGION))
        src, dst, self.spare = memory[: 3 * largest].chunk(3)
        super().__init__(rank.rank, src, dst)

    def exchange(self, size: int, count: int) -> list[float]:
        """See ``Link.exchange``."""
        plan = _native.PingPong()
        plan.bytes, plan.count, plan.first = size, count, self._peer == 1
        plan.timeout_s = self._timeout_s
        view = self.communicator.native.device_view()
        return _native.ping_pong_writes(view, self._peer, 0, self._half, FIRST_COUNTER, plan)


class MemcpyLink(Halves):
    """The same copy without a transport: within a region, on rank 0 alone."""

    name = memcpy.NAME

    def __init__(self, rank: Rank, ours: OurLink) -> None:
        super().__init__(rank.rank, ours.src, ours.spare)

    def exchange(self, size: int, count: int) -> list[float]:
        """See ``Link.exchange``."""
        if self._rank > 0:
            return []
        return _native.copies(self.src.data_ptr(), self.dst.data_ptr(), size, count)

    def wrong(self, size: int) -> int | None:
        """There is nothing to check: no one else wrote here."""
        del size
        return None


class SocketLink(Halves):
    """Blocking send and recv on one connection over loopback."""

    name = sockets.NAME

    def __init__(self, rank: Rank, largest: int) -> None:
        super().__init__(rank.rank, *_zeros(largest))
        self.socket = sockets.connect(rank)
        self._timeout_s = rank.deadline_s

    def exchange(self, size: int, count: int) -> list[float]:
        """See ``Link.exchange``."""
        plan = _native.PingPong()
        plan.bytes, plan.count, plan.first = size, count, self._rank == 0
        src, dst = self.src.data_ptr(), self.dst.data_ptr()
        return _native.ping_pong_socket(self.socket.fileno(), src, dst, plan)


class GlooLink(Halves):
    """send and recv of torch.distributed over gloo."""

    name = gloo.NAME

    def __init__(self, rank: Rank, largest: int) -> None:
        super().__init__(rank.rank, *_zeros(largest))

    def exchange(self, size: int, count: int) -> list[float]:
        """See ``Link.exchange``."""
        return gloo.ping_pong(self._rank, self.src[:size], self.dst[:size], count)


def body(rank: Rank, plan: Plan) -> bytes:
    """Measure; rank 0 returns the series."""
    largest = max(plan.sizes)
    series: list[Series] = []
    with contextlib.ExitStack() as stack:
        ours = []
        for transport in plan.transports:
            ours.append(OurLink(rank, transport, largest))
            stack.callback(ours[-1].communicator.destroy)
        socket = SocketLink(rank, largest)
        stack.callback(socket.socket.close)
        links: tuple[Link, ...] = (
            *ours,
            MemcpyLink(rank, ours[0]),
            socket,
            GlooLink(rank, largest),
        )
        for number, size in enumerate(plan.sizes):
            rank.tell(number, len(plan.sizes), f"{size} bytes")
            series += _measure(rank, plan, links, size)
        dist.barrier()
    return msgspec.json.encode(series)


def _measure(rank: Rank, plan: Plan, links: Sequence[Link], size: int) -> list[Series]:
    count = max(LEAST_EXCHANGES, min(MOST_EXCHANGES, plan.volume // size))
    times: dict[str, list[list[float]]] = {link.name: [] for link in links}
    wrong: dict[str, int | None] = {}
    for number in range(-1, plan.rounds):  # the first warms up, and is checked
        first = number % len(links)
        for link in (*links[first:], *links[:first]):
            if number < 0:
                link.begin(size)
            rank.meet()
            seconds = link.exchange(size, count)
            if rank.rank == 0 and len(seconds) != count:
                raise BenchFailed(f"{link.name} gave up after {len(seconds)} of {count} exchanges")
            if number < 0:
                rank.meet()
                wrong[link.name] = _sum(rank, link.wrong(size))
            else:
                times[link.name].append(seconds)
    if rank.rank > 0:
        return []
    return [
        Series(
            contender=name,
            point={"bytes": size},
            rounds=rounds,
            bytes=size,
            wrong=wrong[name],
        )
        for name, rounds in times.items()
    ]


def _sum(rank: Rank, wrong: int | None) -> int | None:
    """Of both ranks."""
    each = [msgspec.json.decode(data) for data in rank.gather(msgspec.json.encode(wrong))]
    return None if None in each else sum(each)


def _zeros(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)


def _pattern(rank: int, size: int) -> torch.Tensor:
    """Bytes that differ between ranks and sizes, and none of them 0."""
    return (torch.arange(size) * (7 + 6 * rank) + size // 16 + rank).remainder(255).byte() + 1
