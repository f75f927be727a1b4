"""What a user may choose about a communicator."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from crossdock.proxy import schema
from crossdock.proxy.errors import ArgumentError, CapacityError

Transport = Literal["auto", "shm", "tcp", "verbs", "efa"]
NO_SIGNAL = "none"
_LONGEST_SILENCE_S = 86400.0  # the kernel counts milliseconds in 32 bits
_SUFFIXES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Choices for a communicator, checked where they are built.

    ``Options.from_environment()`` reads each field from ``CROSSDOCK_`` and its name in capitals,
    for example ``CROSSDOCK_PROXY_THREADS=2``.
    """

    transport: Transport = "auto"
    """auto: shm inside a node, and between nodes efa or verbs where every rank has such a NIC, else
    tcp; any other name: that one for all peers."""
    proxy_threads: int | None = None
    """0 runs the proxy inline in whoever waits; None decides by free cores."""
    pin: bool = True
    """Pin proxy threads to cores of the process's cpuset."""
    proxy_sleep_us: int = 1000
    """Longest sleep of a proxy thread that has nothing to do; 0: it only yields. A GPU cannot wake
    it, so a Buffer on a GPU that finds the default takes 0."""
    peer_access: bool = True
    """GPUs of one node write into each other's memory themselves where they can; only counters go
    through proxies then."""
    gpu_direct: bool = True
    """NICs read and write the memory of GPUs themselves where they can; else rows go through memory
    of the host."""
    inbox_bytes: int = 512 << 20
    """Memory of a rank's GPU for rows of the normal mode that other GPUs of the node write there
    themselves; those of a call that has more go through memory of the host. 0: all do."""
    timeout_s: float = 30.0
    """Deadline of every wait that is given none."""
    heap_bytes: int | None = None
    """None: as large as memory and schema allow. Only touched pages cost."""
    ring_slots: int = 4096
    """Commands that fit a ring; a power of two."""
    window: int = 1024
    """Commands that a proxy holds between pop and completion; a power of two."""
    writes_per_peer: int = 128
    """Writes in flight to one peer."""
    bytes_in_flight: int = 64 << 20
    """Bytes that a proxy has in flight."""
    node: str | None = None
    """Name of a simulated node; None: the host decides."""
    tcp_interface: str | None = None
    """Network interface for tcp, for example eth0."""
    tcp_address: str | None = None
    """Address for tcp, for example 10.0.0.7; goes before the interface."""
    connections_per_peer: int = 1
    """tcp connections of each proxy to each peer."""
    rdma_devices: str | None = None
    """NICs of this rank, for example mlx5_0,mlx5_1:2; None: the ranks of a host share what it
    has."""
    rdma_gid_index: int | None = None
    """GID of each NIC; None: the best, RoCE v2 and IPv4 first."""
    rdma_roce_version: str | None = None
    """v1 or v2; None: v2 where there is one."""
    rdma_mtu_bytes: int | None = None
    """None: the port's."""
    rdma_traffic_class: int = 0
    """Of RoCE packets: the DSCP times four."""
    rdma_service_level: int = 0
    """Of InfiniBand packets, or the priority on Ethernet."""
    rdma_paths: int = 4
    """Queue pairs of a proxy to a peer at most: one over each pair of NICs, one of them in use."""
    mend_s: float = 10.0
    """How long a lane may be broken, by a link that is down for example, until its peer is lost."""
    dump_dir: str | None = None
    """Where dumps go; None: crossdock-dumps-UID in the folder for temporary files."""
    dump_signal: str = "SIGUSR2"
    """The signal that brings a dump, unless the application handles it; none: no signal does."""

    @property
    def tcp_silence_s(self) -> float:
        """How long the host of a peer may acknowledge nothing over tcp until the peer is lost.

        As long as a wait may last, but at least 1 s and at most a day: a peer that is stopped while
        its connection is full may come back until then.
        """
        return min(max(1.0, self.timeout_s), _LONGEST_SILENCE_S)

    def __post_init__(self) -> None:
        if self.transport not in typing.get_args(Transport):
            choices = ", ".join(typing.get_args(Transport))
            raise ArgumentError(f"transport is {self.transport!r}, but must be one of {choices}")
        if not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise ArgumentError(f"timeout_s is {self.timeout_s}, but must be a positive number")
        _within("proxy_threads", self.proxy_threads, 0, 64)
        _within("proxy_sleep_us", self.proxy_sleep_us, 0, 1_000_000)
        _within("inbox_bytes", self.inbox_bytes, 0, 1 << 40)
        _within("heap_bytes", self.heap_bytes, 1, schema.MAX_REGION_BYTES)
        _within("ring_slots", self.ring_slots, 2, 1 << 24)
        _within("window", self.window, 2, 1 << 20)
        _within("writes_per_peer", self.writes_per_peer, 1, 1 << 14)
        _within("bytes_in_flight", self.bytes_in_flight, 1, 1 << 40)
        _within("connections_per_peer", self.connections_per_peer, 1, 64)
        _within("rdma_gid_index", self.rdma_gid_index, 0, 255)
        _within("rdma_mtu_bytes", self.rdma_mtu_bytes, 256, 4096)
        _within("rdma_traffic_class", self.rdma_traffic_class, 0, 255)
        _within("rdma_service_level", self.rdma_service_level, 0, 15)
        _within("rdma_paths", self.rdma_paths, 1, 16)
        if self.rdma_roce_version not in (None, "v1", "v2"):
            raise ArgumentError(f"rdma_roce_version is {self.rdma_roce_version!r}, not v1 or v2")
        if not (math.isfinite(self.mend_s) and 0 <= self.mend_s <= _LONGEST_SILENCE_S):
            raise ArgumentError(
                f"mend_s is {self.mend_s}, but must be between 0 and {_LONGEST_SILENCE_S:g}"
            )
        for name in ("ring_slots", "window"):
            value = getattr(self, name)
            if value & (value - 1):
                raise ArgumentError(f"{name} is {value}, but must be a power of two")
        if self.dump_signal not in (NO_SIGNAL, *(s.name for s in signal.Signals)):
            raise ArgumentError(
                f"dump_signal is {self.dump_signal!r}, but must be the name of a signal, such as "
                f"SIGUSR2, or {NO_SIGNAL}"
            )
        for name in ("node", "tcp_interface", "tcp_address", "rdma_devices", "dump_dir"):
            if getattr(self, name) == "":
                raise ArgumentError(f"{name} is empty; leave it out instead")

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, **overrides: Any
    ) -> Options:
        """Options from ``CROSSDOCK_*`` variables; ``overrides`` go before them.

        Raises:
            ArgumentError: a variable cannot be read as its field, or a value is not allowed.
            CapacityError: a value is beyond its limit.
        """
        environment = os.environ if environment is None else environment
        kinds = typing.get_type_hints(cls)
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            variable = variable_of(field.name)
            text = environment.get(variable)
            if text and field.name not in overrides:
                values[field.name] = _parsed(variable, text, kinds[field.name])
        return cls(**values, **overrides)


def variable_of(field: str) -> str:
    """Name of the environment variable of a field."""
    return f"CROSSDOCK_{field.upper()}"


def _within(name: str, value: int | None, low: int, high: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentError(f"{name} is {value!r}, but must be a whole number")
    if not low <= value <= high:
        raise CapacityError(f"{name} is {value}, but must be between {low} and {high}")


def _parsed(variable: str, text: str, kind: Any) -> Any:
    """The value in a variable; of ``X | None`` the X."""
    if isinstance(kind, types.UnionType):
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    try:
        if kind is bool:
            return {"1": True, "true": True, "0": False, "false": False}[text.lower()]
        if kind is int:
            return _whole_number(text)
        return kind(text) if kind is float else text
    except (KeyError, ValueError):
        raise ArgumentError(f"{variable} is {text!r}, which is not a {kind.__name__}") from None


def _whole_number(text: str) -> int:
    """A number such as 4096, 64M or 2GiB."""
    digits = text.upper().removesuffix("IB")
    if digits[-1:] in _SUFFIXES:
        return int(digits[:-1]) * _SUFFIXES[digits[-1]]
    return int(text)
