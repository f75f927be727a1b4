"""How ranks of a node come to write into each other's devices."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools

import msgspec

from crossdock.ep.gpu.platform import Platform
from crossdock.proxy import Communicator, Exchange
from crossdock.proxy.bootstrap import agree
from crossdock.proxy.errors import TransportError

STEP = "use GPUs in a Buffer"


class Offer(msgspec.Struct, frozen=True):
    """How the other ranks may reach memory of a rank's device."""

    backend: str
    handle: bytes
    size: int


@dataclasses.dataclass(frozen=True)
class Peers:
    """Who reaches whom.

    Args:
        addresses: of each rank's memory as this rank sees it; 0 where one of the two cannot write
            to the other.
        reached: ``[a][b]`` is whether rank a can write into the memory of rank b.
        opened: addresses that are to be closed before the memory of this rank is given back.
    """

    addresses: list[int]
    reached: list[list[bool]]
    opened: list[int]

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
    memory: tuple[int, int],
) -> Peers:
    """Offer memory of the device to the ranks of the node, and open theirs. Collective.

    Args:
        platform: None for a rank without a GPU, which reaches nobody.
        memory: address and bytes; of no bytes there is nothing to reach.
    """
    rank, nodes = exchange.rank, communicator.node_of
    timeout_s = communicator.options.timeout_s
    address, size = memory

    def offer() -> Offer:
        if platform is None or not address or not communicator.options.peer_access:
            return Offer("cpu" if platform is None else platform.backend, b"", 0)
        return Offer(platform.backend, platform.share(address), size)

    offers = agree(exchange, timeout_s, Offer, offer, STEP)
    mine = offers[rank]
    found, opened = [0] * exchange.size, []
    for peer, theirs in enumerate(offers):
        near = nodes[peer] == nodes[rank] and communicator.options.peer_access
        if platform is None or not near or not address or theirs.backend != mine.backend:
            continue
        if peer == rank:
            found[peer] = address
        elif theirs.handle:
            with contextlib.suppress(TransportError):
                found[peer] = platform.open(theirs.handle, theirs.size)
                opened.append(found[peer])
    try:
        reached = agree(exchange, timeout_s, list[bool], lambda: [at != 0 for at in found], STEP)
    except BaseException:
        for one in opened:
            platform.close(one)  # type: ignore[union-attr]  # who opened has one
        raise
    both = [at if reached[peer][rank] else 0 for peer, at in enumerate(found)]
    return Peers(both, reached, opened)
