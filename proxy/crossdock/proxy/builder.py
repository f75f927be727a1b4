"""Builds the native half of a communicator: who is where, what is agreed, who is reached how."""

from __future__ import annotations

import dataclasses
import errno
import functools
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from crossdock.proxy import (
    _native,
    bootstrap,
    heap_size,
    nics,
    rdma_connect,
    schema,
    tcp_connect,
    topology,
)
from crossdock.proxy.bootstrap import Announcement, Introduction, ShmContact, TcpContact
from crossdock.proxy.errors import ArgumentError, TransportError
from crossdock.proxy.exchange import Exchange
from crossdock.proxy.options import Options

T = TypeVar("T")
_PAGE_BYTES = 4096
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What ails this rank, and does not tell whether it shares a host with a peer."""
_log = logging.getLogger(__name__)


class DeviceMemory(Protocol):
    """Memory of a device that NICs may read and write, as long as there is such an object."""

    address: int
    size: int


@dataclasses.dataclass(frozen=True)
class Request:
    """What a product asks of a communicator."""

    main_bytes: int
    num_counters: int
    max_value: int
    device_memory: Callable[[], DeviceMemory] | None = None


@dataclasses.dataclass(frozen=True)
class Built:
    """What a communicator starts with."""

    native: _native.Communicator
    layout: schema.ImmediateLayout
    num_proxies: int
    threaded: bool
    node_of: tuple[int, ...]
    routes: tuple[str, ...]
    job: str
    """A name that the ranks of this communicator share, and no other."""
    device_memory: DeviceMemory | None


class Builder:
    """Builds once; each step is collective."""

    def __init__(self, exchange: Exchange, options: Options, request: Request) -> None:
        self._exchange = exchange
        self._rank = exchange.rank
        self._options = options
        self._request = request
        self._native: _native.Communicator | None = None
        self._device_memory: DeviceMemory | None = None

    def build(self) -> Built:
        """See ``Communicator`` for what it raises."""
        try:
            return self._build()
        except BaseException:
            if self._native is not None:
                self._native.shut_down(-1)
            raise

    def _build(self) -> Built:
        people = self._agree(Introduction, self._introduction, "introduce itself")
        bootstrap.require_same(people)
        layout = schema.ImmediateLayout(people[0].counter_bits, people[0].sequence_bits)
        config = self._config(people, layout)
        native, offers, reached = self._reach_neighbours(people, config)
        network = self._network(people)
        routes = bootstrap.routes(reached, self._rank, network)
        if bootstrap.need_network(reached):
            self._connect_far(native, network, people, offers, routes)
        # Nobody sends before everybody can receive.
        self._agree(bool, lambda: True, "connect")
        native.start()
        return Built(
            native=native,
            layout=layout,
            num_proxies=config.num_proxies,
            threaded=config.threads,
            node_of=topology.numbered([person.node for person in people]),
            routes=routes,
            job=bootstrap.job_name(people[0].secret),
            device_memory=self._device_memory,
        )

    def _agree(self, kind: type[T], make: Callable[[], T], what: str) -> list[T]:
        return bootstrap.agree(self._exchange, self._options.timeout_s, kind, make, what)

    # ---- who is who -------------------------------------------------------------------------

    def _introduction(self) -> Introduction:
        schema.checked("rank", self._exchange.size - 1, schema.MAX_PEERS - 1)
        schema.checked("main_bytes", self._request.main_bytes, schema.MAX_REGION_BYTES)
        layout = schema.ImmediateLayout.for_job(
            self._request.num_counters, self._request.max_value, self._options.writes_per_peer
        )
        return bootstrap.introduction(self._options, self._rank, self._request.num_counters, layout)

    def _config(
        self, people: Sequence[Introduction], layout: schema.ImmediateLayout
    ) -> _native.CommunicatorConfig:
        hosts = [person.host for person in people]
        cpusets = [person.cpus for person in people]
        numa = topology.numa_nodes()
        shares = [topology.share_of_cpus(rank, hosts, cpusets, numa) for rank in range(len(people))]
        threads = [
            topology.threads_for(person.proxy_threads, share)
            for person, share in zip(people, shares, strict=True)
        ]
        num_proxies = min(max(1, count) for count in threads)
        threaded = threads[self._rank] > 0
        config = _native.CommunicatorConfig()
        config.rank = self._rank
        config.num_ranks = len(people)
        config.num_proxies = num_proxies
        config.threads = threaded
        config.caretaker = True
        config.sleep_us_max = self._options.proxy_sleep_us
        if threaded and self._options.pin:
            config.cpus = list(topology.cpus_for(num_proxies, shares[self._rank]))
        config.main_bytes = max(self._request.main_bytes, _PAGE_BYTES)
        config.heap_bytes = self._options.heap_bytes or self._default_heap_bytes(people)
        config.num_counters = self._request.num_counters
        config.layout = _native.ImmediateLayout(layout.counter_bits, layout.sequence_bits)
        config.ring_slots = self._options.ring_slots
        config.limits.window = self._options.window
        config.limits.writes_per_peer = self._options.writes_per_peer
        config.limits.bytes = self._options.bytes_in_flight
        _tell_once(
            self._options.proxy_threads is None, num_proxies if threaded else 0, len(cpusets[0])
        )
        return config

    def _default_heap_bytes(self, people: Sequence[Introduction]) -> int:
        """See ``heap_size``: what a NIC may reach is registered."""
        several_nodes = len({person.node for person in people}) > 1
        far = several_nodes or self._options.transport in nics.KIND_OF
        _, neighbours = _place([person.host for person in people], self._rank)
        return heap_size.default_heap_bytes(
            registered=far and self._network(people) in nics.KIND_OF, neighbours=neighbours
        )

    # ---- who is reached how -----------------------------------------------------------------

    def _reach_neighbours(
        self, people: Sequence[Introduction], config: _native.CommunicatorConfig
    ) -> tuple[_native.Communicator, list[Announcement], list[tuple[int, ...]]]:
        """Sets up memory, and attaches the peers with whom it is shared."""
        made: list[tuple[_native.Communicator, _native.ShmHost]] = []

        def announce() -> Announcement:
            if self._request.device_memory is not None:
                self._device_memory = memory = self._request.device_memory()
                config.set_device_memory(memory.address, memory.size)
            made.append(self._make(config))
            return _announcement_of(made[0][1].announcement())

        offers = self._agree(Announcement, announce, "set up its memory")
        native, host = made[0]
        reached = self._agree(
            tuple[int, ...], lambda: self._reach(host, people, offers), "tell whom it reaches"
        )
        if self._options.transport == "shm":
            bootstrap.require_shm(reached)
        routes = bootstrap.routes(reached, self._rank, "far")
        for peer in reached[self._rank]:
            if routes[peer] != "shm":
                host.forget(peer)
        host.attach()
        return native, offers, reached

    def _connect_far(
        self,
        native: _native.Communicator,
        network: str,
        people: Sequence[Introduction],
        offers: Sequence[Announcement],
        routes: Sequence[str],
    ) -> None:
        """Attached last, so that inline proxies sleep on the network."""
        peers = [peer for peer, route in enumerate(routes) if route == network]
        for peer in peers:
            for region, size in enumerate(offers[peer].region_bytes):
                native.set_peer_region(peer, region, size)

        def open_sockets(peers: Sequence[int], connections: int) -> tcp_connect.Sockets:
            return self._open_sockets(native, people[0].secret, peers, connections)

        if network == "tcp":
            sockets = open_sockets(peers, self._options.connections_per_peer)
            self._agree(
                bool,
                lambda: _attach_tcp(native, sockets, self._options),
                "attach its tcp connections",
            )
            return
        place = _place([person.host for person in people], self._rank)
        rdma_connect.Connector(
            native, self._rank, network, self._options, peers, place, people[0].secret
        ).run(self._agree, open_sockets)

    def _open_sockets(
        self,
        native: _native.Communicator,
        secret: bytes,
        peers: Sequence[int],
        connections: int,
    ) -> tcp_connect.Sockets:
        """Sockets of each proxy with each peer; collective, also for a rank without peers."""
        options = self._options
        listeners: list[tcp_connect.Listener] = []
        made: list[tcp_connect.Sockets] = []

        def listen() -> tuple[TcpContact, ...]:
            if peers:
                listeners.append(tcp_connect.Listener(options.tcp_address, options.tcp_interface))
            return tuple(TcpContact(*listener.address) for listener in listeners)

        def connect() -> bool:
            for listener in listeners:
                made.append(
                    tcp_connect.connect_all(
                        listener,
                        self._rank,
                        addresses,
                        peers,
                        secret,
                        native.num_proxies,
                        connections,
                        time.monotonic() + options.timeout_s,
                    )
                )
            return True

        try:
            contacts = self._agree(tuple[TcpContact, ...], listen, "listen on tcp")
            addresses = {rank: (c.host, c.port) for rank, row in enumerate(contacts) for c in row}
            self._agree(bool, connect, "connect over tcp")
        except BaseException:
            tcp_connect.close_all(made)
            raise
        finally:
            for listener in listeners:
                listener.close()
        return made[0] if made else []

    def _network(self, people: Sequence[Introduction]) -> str:
        """The transport between ranks that do not share memory."""
        return nics.common_network(self._options.transport, [p.networks for p in people])

    def _make(
        self, config: _native.CommunicatorConfig
    ) -> tuple[_native.Communicator, _native.ShmHost]:
        try:
            self._native = _native.Communicator(config)
            return self._native, _native.ShmHost(self._native, secrets.randbits(64))
        except ValueError as error:
            raise ArgumentError(str(error)) from error
        except OSError as error:
            raise TransportError(error.errno, f"rank {self._rank}: {error.strerror}") from error

    def _reach(
        self,
        host: _native.ShmHost,
        people: Sequence[Introduction],
        offers: Sequence[Announcement],
    ) -> tuple[int, ...]:
        """The peers whose memory this rank could map.

        Raises:
            OSError: it has no descriptors or no memory left for it.
        """
        reached = []
        for peer in bootstrap.shm_peers(people, self._rank, self._options.transport):
            try:
                host.reach(peer, _native_announcement(offers[peer]))
                reached.append(peer)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    raise
                _log.info("rank %d cannot reach rank %d over shm: %s", self._rank, peer, error)
        return tuple(reached)


def _attach_tcp(
    native: _native.Communicator, sockets: tcp_connect.Sockets, options: Options
) -> bool:
    """Hands the sockets over; those that nobody has taken when it fails are closed."""
    waiting = dict(enumerate(sockets))
    try:
        for proxy in sorted(waiting):
            peers = list(waiting.pop(proxy).items())
            silence_ms = round(1000 * options.tcp_silence_s)
            native.attach_tcp(proxy, peers, options.writes_per_peer, silence_ms)
    except BaseException:
        tcp_connect.close_all([list(waiting.values())])
        raise
    return True


def _announcement_of(offer: _native.ShmAnnouncement) -> Announcement:
    shm = ShmContact(
        pid=offer.pid,
        control_fd=offer.control_fd,
        region_fds=tuple(offer.region_fds),
        nonce=offer.nonce,
    )
    return Announcement(region_bytes=tuple(offer.region_bytes), shm=shm)


def _native_announcement(offer: Announcement) -> _native.ShmAnnouncement:
    announcement = _native.ShmAnnouncement()
    announcement.pid = offer.shm.pid
    announcement.control_fd = offer.shm.control_fd
    announcement.region_fds = list(offer.shm.region_fds)
    announcement.region_bytes = list(offer.region_bytes)
    announcement.nonce = offer.shm.nonce
    return announcement


def _place(hosts: Sequence[str], rank: int) -> tuple[int, int]:
    """Which rank of its host it is, and of how many."""
    return hosts[:rank].count(hosts[rank]), hosts.count(hosts[rank])


@functools.cache
def _tell_once(chosen: bool, threads: int, cpus: int) -> None:
    if not chosen:
        return
    how = f"{threads} proxy thread(s)" if threads else "the proxy inline in whoever waits"
    _log.info("%d cores are allowed: running %s; CROSSDOCK_PROXY_THREADS overrides", cpus, how)
