"""Connects the ranks of a job over tcp, and keeps out whoever does not hold the job's secret.

The lower rank of a pair connects, the higher one listens; ``tcp_handshake`` says how they prove who
they are. A client that presents anything else, or nothing in time, is dropped and logged once; the
job goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import logging
import os
import selectors
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Self

from crossdock.proxy.errors import ArgumentError, DeadlineExceeded, TransportError
from crossdock.proxy.tcp_handshake import SECRET_BYTES, Handshake, Link, Refused, answer, call

ADDRESS_VARIABLE = "CROSSDOCK_TCP_ADDRESS"
INTERFACE_VARIABLE = "CROSSDOCK_TCP_INTERFACE"

Address = tuple[str, int]
Sockets = list[dict[int, list[int]]]
"""For each endpoint, for each peer: the descriptors of its connections."""

_log = logging.getLogger("crossdock.proxy.tcp")

_CLIENT_LIMIT_S = 5.0
_CLIENTS_MAX = 256
_LONGEST_PAUSE_S = 3600.0  # what no selector refuses; the loop goes on after it
_CONNECTING_MAX = 64
_RETRY_S = 0.05
_BACKLOG = 4096
_LOGGED_MAX = 256


class Listener:
    """A listening socket, and the address under which other ranks reach it.

    Binds to ``address``, or that of ``interface``, or to what ``CROSSDOCK_TCP_ADDRESS`` or
    ``CROSSDOCK_TCP_INTERFACE`` say; else to all interfaces, and then ``address`` is the one from
    which ``toward`` is reached, a host that every rank must reach anyway.
    """

    def __init__(
        self,
        address: str | None = None,
        interface: str | None = None,
        toward: str | None = None,
    ) -> None:
        wanted = _wanted_address(address, interface)
        host = wanted or _address_toward(toward or os.environ.get("MASTER_ADDR"))
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        everywhere = "::" if family == socket.AF_INET6 else ""
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self.socket.bind((wanted or everywhere, 0))
            self.socket.listen(_BACKLOG)
        except OSError as error:
            self.socket.close()
            raise TransportError(
                f"cannot listen on {wanted or 'all interfaces'}: {error}"
            ) from error
        self.socket.setblocking(False)
        self.address: Address = (host, self.socket.getsockname()[1])

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _wanted_address(address: str | None, interface: str | None) -> str | None:
    if address is None and interface is None:
        address = os.environ.get(ADDRESS_VARIABLE) or None
        interface = os.environ.get(INTERFACE_VARIABLE) or None
    if address is not None:
        return address
    return None if interface is None else _address_of(interface)


def _address_of(interface: str) -> str:
    siocgifaddr = 0x8915
    request = struct.pack("256s", interface.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), siocgifaddr, request)
        except OSError as error:
            raise TransportError(f"interface {interface!r} has no IPv4 address: {error}") from error
    return socket.inet_ntoa(answer[20:24])


def _address_toward(host: str | None) -> str:
    """The local address of the route to ``host``; nothing is sent."""
    candidates = [host] if host else [socket.gethostname(), "localhost"]
    for candidate in candidates:
        with contextlib.suppress(OSError):
            family, kind, *_, where = socket.getaddrinfo(candidate, 9, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as probe:
                probe.connect(where)
                return str(probe.getsockname()[0])
    raise TransportError(
        f"no route to {' or '.join(candidates)}: set {ADDRESS_VARIABLE} or {INTERFACE_VARIABLE}"
    )


@dataclass(order=True)
class _Attempt:
    """A link that this rank still has to make."""

    not_before: float
    link: Link


@dataclass
class _Meeting:
    """One run of ``connect_all``."""

    listener: Listener
    rank: int
    addresses: Mapping[int, Address]
    secret: bytes
    ends_at: float
    expected: set[Link] = field(default_factory=set)
    attempts: list[_Attempt] = field(default_factory=list)  # a heap
    made: dict[Link, socket.socket] = field(default_factory=dict)
    clients: dict[Handshake, None] = field(default_factory=dict)  # the oldest first
    calls: dict[Handshake, _Attempt] = field(default_factory=dict)
    logged: set[tuple[str, str]] = field(default_factory=set)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def run(self) -> None:
        self.selector.register(self.listener.socket, selectors.EVENT_READ)
        while len(self.made) < len(self.expected):
            now = time.monotonic()
            if now >= self.ends_at:
                raise self._deadline_exceeded()
            self._drop_late(now)
            self._start_calls(now)
            for key, _ in self.selector.select(self._pause(now)):
                if key.data is None:
                    self._accept()
                elif key.data.sock.fileno() >= 0:
                    self._go_on(key.data)

    def close(self, *, failed: bool) -> None:
        for handshake in [*self.clients, *self.calls]:
            handshake.sock.close()
        if failed:
            for sock in self.made.values():
                sock.close()
        self.selector.close()

    def _deadline_exceeded(self) -> DeadlineExceeded:
        missing = self.expected - self.made.keys()
        ranks = tuple(sorted({lk.lower + lk.higher - self.rank for lk in missing}))
        return DeadlineExceeded(
            ranks,
            f"rank {self.rank} is still missing {len(missing)} of {len(self.expected)} tcp "
            f"connections, with ranks {list(ranks)}; is each of them alive, of the same job, and "
            f"reachable at its address?",
        )

    def _pause(self, now: float) -> float:
        moments = [self.ends_at, *(client.ends_at for client in islice(self.clients, 1))]
        if self.attempts and len(self.calls) < _CONNECTING_MAX:
            moments.append(self.attempts[0].not_before)
        return max(0.0, min(_LONGEST_PAUSE_S, min(moments) - now))

    def _accept(self) -> None:
        try:
            sock, peer = self.listener.socket.accept()
        except OSError:  # gone again, or no descriptor left: the deadline bounds the tries
            time.sleep(0.001)
            return
        if len(self.clients) >= _CLIENTS_MAX:
            self._drop(next(iter(self.clients)), "it was the slowest of too many clients")
        sock.setblocking(False)
        step = answer(self.secret, self._admit)
        ends_at = time.monotonic() + _CLIENT_LIMIT_S
        handshake = Handshake(sock, step, f"client {peer[0]}", ends_at)
        self.clients[handshake] = None
        self.selector.register(sock, handshake.interest, handshake)

    def _admit(self, link: Link) -> None:
        if link.higher != self.rank or link not in self.expected:
            raise Refused(f"it claims to be {link}, which rank {self.rank} does not expect")
        if link in self.made:
            raise Refused(f"it claims to be {link}, which is connected already")

    def _start_calls(self, now: float) -> None:
        while self.attempts and self.attempts[0].not_before <= now:
            if len(self.calls) >= _CONNECTING_MAX:
                return
            self._call(heapq.heappop(self.attempts))

    def _call(self, attempt: _Attempt) -> None:
        host, port = self.addresses[attempt.link.higher]
        name = f"rank {attempt.link.higher} at {host}:{port}"
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        handshake = Handshake(sock, call(attempt.link, self.secret), name, self.ends_at)
        self.calls[handshake] = attempt
        self.selector.register(sock, handshake.interest, handshake)
        try:
            sock.connect((host, port))
        except BlockingIOError:
            pass
        except OSError as error:
            self._drop(handshake, str(error))

    def _go_on(self, handshake: Handshake) -> None:
        try:
            handshake.go_on()
        except (OSError, Refused) as error:
            self._drop(handshake, str(error))
            return
        if handshake.link is None:
            self.selector.modify(handshake.sock, handshake.interest, handshake)
        else:
            self._keep(handshake, handshake.link)

    def _keep(self, handshake: Handshake, link: Link) -> None:
        self._forget(handshake)
        # Two clients may prove the same link at once: the first one is it.
        if link in self.made:
            handshake.sock.close()
        else:
            self.made[link] = handshake.sock

    def _forget(self, handshake: Handshake) -> _Attempt | None:
        self.selector.unregister(handshake.sock)
        self.clients.pop(handshake, None)
        return self.calls.pop(handshake, None)

    def _drop(self, handshake: Handshake, why: str) -> None:
        attempt = self._forget(handshake)
        handshake.sock.close()
        if attempt is not None:
            attempt.not_before = time.monotonic() + _RETRY_S
            heapq.heappush(self.attempts, attempt)
        if (handshake.name, why) not in self.logged and len(self.logged) < _LOGGED_MAX:
            self.logged.add((handshake.name, why))
            _log.warning(
                "rank %d dropped the connection with %s: %s", self.rank, handshake.name, why
            )

    def _drop_late(self, now: float) -> None:
        for client in list(takewhile(lambda client: client.ends_at <= now, self.clients)):
            self._drop(client, f"it did not prove itself within {_CLIENT_LIMIT_S:g} s")


def connect_all(
    listener: Listener,
    rank: int,
    addresses: Mapping[int, Address],
    peers: Iterable[int],
    secret: bytes,
    endpoints: int,
    connections_per_peer: int,
    deadline: float,
) -> Sockets:
    """Connects this rank with ``peers``, which all call this too.

    ``addresses`` holds ``Listener.address`` of every peer above this rank; ``deadline`` is a moment
    of ``time.monotonic()``. Returns, for each endpoint, the descriptors of the connected sockets to
    each peer; they belong to the caller. Raises ``DeadlineExceeded``, naming the ranks that are
    missing; then nothing stays open but the listener.
    """
    peers = sorted(set(peers))
    _check_arguments(rank, addresses, peers, secret, endpoints, connections_per_peer)
    meeting = _Meeting(listener, rank, addresses, secret, deadline)
    for peer in peers:
        lower, higher = min(rank, peer), max(rank, peer)
        for endpoint in range(endpoints):
            for connection in range(connections_per_peer):
                meeting.expected.add(Link(lower, higher, endpoint, connection))
    calls = [_Attempt(0.0, link) for link in meeting.expected if link.lower == rank]
    meeting.attempts += sorted(calls)
    try:
        meeting.run()
    except BaseException:
        meeting.close(failed=True)
        raise
    meeting.close(failed=False)
    return _handed_over(meeting.made, rank, peers, endpoints)


def close_all(connected: Iterable[Sockets]) -> None:
    """Closes sockets that nobody will use."""
    for sockets in connected:
        for of_peers in sockets:
            for files in of_peers.values():
                for file in files:
                    os.close(file)


def _handed_over(
    made: Mapping[Link, socket.socket], rank: int, peers: list[int], endpoints: int
) -> Sockets:
    sockets: Sockets = [{peer: [] for peer in peers} for _ in range(endpoints)]
    for link in sorted(made):
        peer = link.lower + link.higher - rank
        sockets[link.endpoint][peer].append(made[link].detach())
    return sockets


def _check_arguments(
    rank: int,
    addresses: Mapping[int, Address],
    peers: list[int],
    secret: bytes,
    endpoints: int,
    connections_per_peer: int,
) -> None:
    if len(secret) != SECRET_BYTES:
        raise ArgumentError(f"the secret has {len(secret)} bytes, not {SECRET_BYTES}")
    if rank in peers or min([rank, *peers]) < 0:
        raise ArgumentError(f"rank {rank} cannot connect to the peers {peers}")
    unknown = [peer for peer in peers if peer > rank and peer not in addresses]
    if unknown:
        raise ArgumentError(f"the addresses of ranks {unknown} are missing")
    if endpoints < 1 or connections_per_peer < 1:
        raise ArgumentError(
            f"{endpoints} endpoints with {connections_per_peer} connections to each peer: "
            "both must be at least 1"
        )
