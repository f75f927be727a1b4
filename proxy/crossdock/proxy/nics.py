"""Which RDMA NICs a rank uses."""

from __future__ import annotations

from collections.abc import Sequence

from crossdock.proxy import _native
from crossdock.proxy.errors import ArgumentError, TransportError
from crossdock.proxy.options import Options

KIND_OF = {"verbs": "rc", "efa": "srd"}
"""What a device must offer for a transport: reliable connections, or datagrams as on EFA."""


def usable(transport: str) -> list[str]:
    """Names of the devices of this host that have an active port for the transport.

    Raises:
        OSError: there is no RDMA library, or the kernel refuses.
    """
    return [
        device.name
        for device in _native.list_rdma_devices()
        if device.transport == KIND_OF[transport] and any(port.active for port in device.ports)
    ]


def available_networks() -> tuple[str, ...]:
    """The RDMA transports that this host has a NIC for, the best first."""
    try:
        return tuple(transport for transport in ("efa", "verbs") if usable(transport))
    except OSError:
        return ()


def common_network(transport: str, offers: Sequence[Sequence[str]]) -> str:
    """The transport between nodes: the one asked for, or the best that every rank has."""
    if transport in KIND_OF:
        return transport
    if transport != "auto":
        return "tcp"
    return next((name for name in ("efa", "verbs") if all(name in o for o in offers)), "tcp")


def choose(
    transport: str, options: Options, place: int, neighbours: int
) -> list[_native.NicChoice]:
    """The NICs of the rank that is the ``place``-th of ``neighbours`` on its host.

    Those that ``options.rdma_devices`` names; else the ranks of a host share its NICs evenly, each
    in turn where there are fewer NICs than ranks.

    Raises:
        TransportError: there is none.
    """
    if options.rdma_devices is not None:
        return [_choice(name.strip(), options) for name in options.rdma_devices.split(",")]
    try:
        found = usable(transport)
    except OSError as error:
        raise TransportError(f"transport {transport}: {error.strerror or error}") from error
    if not found:
        raise TransportError(
            f"transport {transport} needs an RDMA device with {KIND_OF[transport].upper()} and an "
            f"active port, and this host has {_described_devices()}; 'crossdock doctor' tells more"
        )
    each = len(found) // neighbours
    mine = found[place * each : (place + 1) * each] if each else [found[place % len(found)]]
    return [_choice(name, options) for name in mine]


def _choice(name: str, options: Options) -> _native.NicChoice:
    """A NIC by its name, ``mlx5_0``, or with its port, ``mlx5_0:1``."""
    device, _, port = name.partition(":")
    if not device or not (port.isdigit() or port == ""):
        raise ArgumentError(
            f"rdma_devices names {name!r}, but must be a list such as mlx5_0,mlx5_1:1"
        )
    choice = _native.NicChoice()
    choice.device = device
    choice.port = int(port or 0)
    choice.gid_index = -1 if options.rdma_gid_index is None else options.rdma_gid_index
    choice.roce_version = options.rdma_roce_version or ""
    choice.mtu_bytes = options.rdma_mtu_bytes or 0
    return choice


def _described_devices() -> str:
    devices = _native.list_rdma_devices()
    described = [
        f"{d.name} ({d.transport}, {', '.join(f'port {p.number} {p.state}' for p in d.ports)})"
        for d in devices
    ]
    return ", ".join(described) or "none"
