"""Connects the ranks of a job through their NICs. Each step is collective, among all ranks."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from crossdock.proxy import _native, nics, rdma_contact, tcp_connect
from crossdock.proxy.errors import TransportError
from crossdock.proxy.options import Options
from crossdock.proxy.rdma_contact import QueuePairs, RdmaContact

T = TypeVar("T")
Host = _native.VerbsHost | _native.EfaHost
_PROOF_S = 10.0


class Agree(Protocol):
    """``bootstrap.agree``, with what is the same for all steps filled in."""

    def __call__(self, kind: type[T], make: Callable[[], T], what: str) -> list[T]: ...


@dataclasses.dataclass
class Connector:
    """Attaches an endpoint for ``peers`` to every proxy of a rank.

    Ranks that have no such peers take part in each step all the same.
    """

    native: _native.Communicator
    rank: int
    transport: str
    """``verbs`` or ``efa``."""
    options: Options
    peers: Sequence[int]
    place: tuple[int, int]
    """Which rank of its host this is, and of how many."""
    secret: bytes
    host: Host | None = None

    def run(
        self, agree: Agree, open_sockets: Callable[[Sequence[int], int], tcp_connect.Sockets]
    ) -> None:
        """Goes through the steps.

        Args:
            agree: runs a step on all ranks.
            open_sockets: connects a socket of each proxy with each peer; collective.

        Raises:
            TransportError: a NIC, a port, a GID or memory is not to be had, or a path does not
                work.
            PeerArgumentError: the same on another rank, with its reason.
        """
        try:
            self._run(agree, open_sockets)
        except BaseException:
            # What is registered goes now, and not when the last frame of the error does.
            if self.host is not None:
                self.host.release()
            raise

    def _run(
        self, agree: Agree, open_sockets: Callable[[Sequence[int], int], tcp_connect.Sockets]
    ) -> None:
        name = self.transport
        contacts = agree(RdmaContact, self._announce, f"set up its NICs for {name}")
        theirs = agree(QueuePairs, lambda: self._reach(contacts), "make queue pairs")
        agree(bool, lambda: self._connect(theirs), "connect its queue pairs")
        agree(bool, self._prove, "prove its queue pairs")
        sockets = open_sockets(self.peers, 1)
        agree(bool, lambda: self._attach(sockets), "attach its NICs")

    def _announce(self) -> RdmaContact:
        if not self.peers:
            return RdmaContact()
        choices = nics.choose(self.transport, self.options, *self.place)
        self.host = _host(self.native, self.transport, choices, len(self.peers), self.options)
        return rdma_contact.packed(self.host.contact())

    def _reach(self, contacts: Sequence[RdmaContact]) -> QueuePairs:
        if self.host is None:
            return QueuePairs()
        for peer in self.peers:
            self.host.reach(peer, rdma_contact.unpacked(contacts[peer]))
        host, proxies = self.host, range(self.native.num_proxies)
        return QueuePairs(
            tuple({peer: tuple(host.queue_pairs(p, peer)) for peer in self.peers} for p in proxies)
        )

    def _connect(self, theirs: Sequence[QueuePairs]) -> bool:
        if self.host is not None:
            for proxy in range(self.native.num_proxies):
                for peer in self.peers:
                    self.host.connect(proxy, peer, _numbers(theirs, peer, proxy, self.rank))
        return True

    def _prove(self) -> bool:
        if self.host is not None:
            self.host.prove(_word_of(self.secret), min(_PROOF_S, self.options.timeout_s))
        return True

    def _attach(self, sockets: tcp_connect.Sockets) -> bool:
        if self.host is not None:
            _attach(self.host, sockets)
        return True


def _numbers(theirs: Sequence[QueuePairs], peer: int, proxy: int, rank: int) -> tuple[int, ...]:
    """The queue pairs of a peer's proxy for this rank."""
    try:
        return theirs[peer].numbers[proxy][rank]
    except (IndexError, KeyError):
        raise TransportError(
            f"rank {peer} names no queue pairs of its proxy {proxy} for rank {rank}"
        ) from None


def _attach(host: Host, sockets: tcp_connect.Sockets) -> None:
    """Hands the sockets over; those that nobody has taken when it fails are closed."""
    waiting = dict(enumerate(sockets))
    try:
        for proxy in sorted(waiting):
            of_peers = waiting.pop(proxy)
            host.attach(proxy, [(peer, files[0]) for peer, files in of_peers.items()])
    except BaseException:
        tcp_connect.close_all([list(waiting.values())])
        raise


def _host(
    native: _native.Communicator,
    transport: str,
    choices: Sequence[_native.NicChoice],
    num_peers: int,
    options: Options,
) -> Host:
    if transport == "efa":
        return _native.EfaHost(native, choices, num_peers, _efa_options(options))
    return _native.VerbsHost(native, choices, num_peers, _verbs_options(options))


def _efa_options(options: Options) -> _native.EfaOptions:
    chosen = _native.EfaOptions()
    chosen.writes_per_peer = options.writes_per_peer
    chosen.silence_ms = round(1000 * options.tcp_silence_s)
    return chosen


def _verbs_options(options: Options) -> _native.VerbsOptions:
    chosen = _native.VerbsOptions()
    chosen.writes_per_peer = options.writes_per_peer
    chosen.mend_ms = round(1000 * options.mend_s)
    chosen.silence_ms = round(1000 * options.tcp_silence_s)
    chosen.paths_max = options.rdma_paths
    chosen.traffic_class = options.rdma_traffic_class
    chosen.service_level = options.rdma_service_level
    return chosen


def _word_of(secret: bytes) -> int:
    """What only the ranks of this job know, in the width of an immediate."""
    return int.from_bytes(hashlib.sha256(b"crossdock proof" + secret).digest()[:4], "little")
