"""How ranks of a node come to write into each other's devices."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools

import msgspec

from crossdock.ep.gpu.platform import Platform
from crossdock.ep.gpu.region import Region
from crossdock.ep.gpu.writers import Place, Visit, Writer
from crossdock.proxy import Communicator, Exchange
from crossdock.proxy.bootstrap import agree
from crossdock.proxy.errors import TransportError

STEP = "use GPUs in a Buffer"


class Offer(msgspec.Struct, frozen=True):
    """How the other ranks may reach memory of a rank's device."""

    backend: str
    handle: bytes
    size: int
    page: Place | None


@dataclasses.dataclass(frozen=True)
class Peers:
    """Who reaches whom.

    Args:
        addresses: of each rank's memory as this rank sees it; 0 where one of the two cannot write
            to the other.
        reached: ``[a][b]`` is whether rank a can write into the memory of rank b.
        visit: what this rank has open, to be closed once its kernels have ended.
    """

    addresses: list[int]
    reached: list[list[bool]]
    visit: Visit | None

    @property
    def far(self) -> list[tuple[int, int]]:
        """Ranks of which one cannot write to the other, in both orders."""
        return [
            (a, b)
            for a, b in itertools.permutations(range(len(self.reached)), 2)
            if not (self.reached[a][b] and self.reached[b][a])
        ]


def meet(
    communicator: Communicator,
    exchange: Exchange,
    platform: Platform | None,
    memory: Region | None,
) -> Peers:
    """Offer memory of the device to the ranks of the node, and open theirs. Collective.

    Args:
        platform: None for a rank without a GPU, which reaches nobody.
        memory: it learns who may write into it. A rank that has none reaches nobody.
    """
    timeout_s = communicator.options.timeout_s
    if platform is None or memory is None or not communicator.options.peer_access:
        nothing = Offer("cpu" if platform is None else platform.backend, b"", 0, None)
        agree(exchange, timeout_s, Offer, lambda: nothing, STEP)
        return Peers(*_both(exchange, timeout_s, [0] * exchange.size), None)
    visit = Visit(platform)
    try:
        return _visited(communicator, exchange, platform, memory, visit)
    except BaseException:
        visit.close()
        raise


def _visited(
    communicator: Communicator,
    exchange: Exchange,
    platform: Platform,
    memory: Region,
    visit: Visit,
) -> Peers:
    rank, nodes = exchange.rank, communicator.node_of
    timeout_s = communicator.options.timeout_s

    def offer() -> Offer:
        return Offer(platform.backend, platform.share(memory.address), memory.size, visit.place)

    offers = agree(exchange, timeout_s, Offer, offer, STEP)
    found = [0] * exchange.size
    found[rank] = memory.address
    for peer, theirs in enumerate(offers):
        near = peer != rank and nodes[peer] == nodes[rank]
        if not near or theirs.backend != platform.backend or theirs.page is None:
            continue
        with contextlib.suppress(TransportError):
            # It may have this rank's memory open from now on, whatever becomes of the meeting.
            memory.writers.append(Writer(peer, theirs.page))
            if theirs.handle:
                found[peer] = visit.open(theirs.handle, theirs.size)
    both, reached = _both(exchange, timeout_s, found)
    for peer, address in enumerate(found):
        if peer != rank and address and not both[peer]:
            visit.close_one(address)
    memory.writers[:] = [writer for writer in memory.writers if both[writer.rank]]
    return Peers(both, reached, visit)


def _both(
    exchange: Exchange, timeout_s: float, found: list[int]
) -> tuple[list[int], list[list[bool]]]:
    """What was found of those who have found this rank, too; and who has found whom."""
    reached = agree(exchange, timeout_s, list[bool], lambda: [at != 0 for at in found], STEP)
    return [at if reached[peer][exchange.rank] else 0 for peer, at in enumerate(found)], reached
