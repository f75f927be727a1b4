"""Connects the ranks of a job through their NICs. Each step is collective, among all ranks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from crossdock.proxy import _native, nics, rdma_contact, tcp_connect
from crossdock.proxy.options import Options
from crossdock.proxy.rdma_contact import QueuePairs, RdmaContact

T = TypeVar("T")
Host = _native.VerbsHost | _native.EfaHost
_PROOF_S = 10.0


class Agree(Protocol):
    """``bootstrap.agree``, with what is the same for all steps filled in."""

    def __call__(self, kind: type[T], make: Callable[[], T], what: str) -> list[T]: ...


def connect(
    native: _native.Communicator,
    rank: int,
    transport: str,
    options: Options,
    peers: Sequence[int],
    place: tuple[int, int],
    secret: bytes,
    agree: Agree,
    open_sockets: Callable[[Sequence[int], int], tcp_connect.Sockets],
) -> list[str]:
    """Attaches an endpoint for ``peers`` to every proxy; returns the names of the NICs.

    Args:
        native: the communicator.
        rank: this one.
        transport: ``verbs`` or ``efa``.
        options: choices of the user.
        peers: the ranks to be reached from this one; ranks without any take part all the same.
        place: which rank of its host this is, and of how many.
        secret: of the job.
        agree: runs a step on all ranks.
        open_sockets: connects a socket of each proxy with each peer; collective.

    Raises:
        TransportError: a NIC, a port, a GID or memory is not to be had, or a path does not work.
        PeerArgumentError: the same on another rank, with its reason.
    """
    hosts: list[Host] = []
    proxies = range(native.num_proxies)

    def announce() -> RdmaContact:
        if not peers:
            return RdmaContact()
        choices = nics.choose(transport, options, *place)
        hosts.append(_host(native, transport, choices, len(peers), options))
        return rdma_contact.packed(hosts[0].contact())

    def reach() -> QueuePairs:
        for peer in peers:
            hosts[0].reach(peer, rdma_contact.unpacked(contacts[peer]))
        return QueuePairs(
            tuple(
                {peer: tuple(hosts[0].queue_pairs(proxy, peer)) for peer in peers}
                for proxy in proxies
            )
        )

    def join() -> bool:
        for proxy in proxies:
            for peer in peers:
                hosts[0].connect(proxy, peer, numbers[peer].numbers[proxy][rank])
        return True

    def prove() -> bool:
        for host in hosts:
            host.prove(_word_of(secret), min(_PROOF_S, options.timeout_s))
        return True

    def attach() -> bool:
        for host in hosts:
            _attach(host, sockets)
        return True

    contacts = agree(RdmaContact, announce, f"set up its NICs for {transport}")
    numbers = agree(QueuePairs, reach, "make queue pairs")
    agree(bool, join, "connect its queue pairs")
    agree(bool, prove, "prove its queue pairs")
    sockets = open_sockets(peers, 1)
    agree(bool, attach, "attach its NICs")
    return [name for host in hosts for name in host.nic_names()]


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
