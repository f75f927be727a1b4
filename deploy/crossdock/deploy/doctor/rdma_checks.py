"""The checks of RDMA: libraries, each device, and whether it registers memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossdock.deploy.doctor import rdma_probes as probes
from crossdock.deploy.doctor.findings import Finding, Status
from crossdock.deploy.doctor.host import Host
from crossdock.deploy.doctor.sizes import MIB, size_text

if TYPE_CHECKING:
    from crossdock.proxy._native import DeviceFacts, GidFacts, PortFacts

TRANSPORT_OF = {"rc": "verbs", "srd": "efa"}
SMALL_BYTES = MIB
NO_DEVICE = "none is fine for shm and tcp"


def check_libraries(host: Host) -> Finding:
    """They are opened when they are first needed, so an installation may lack them unnoticed."""
    verbs, efa = _refusal(probes.need_libibverbs), _refusal(probes.need_libefa)
    needs_verbs = bool(host.rdma_devices())
    needs_efa = verbs is None and any(one.transport == "srd" for one in probes.devices())
    lacks = (needs_verbs and verbs is not None) or (needs_efa and efa is not None)
    return Finding(
        "rdma libraries",
        Status.CRITICAL if lacks else Status.OK,
        observed=f"libibverbs: {verbs or 'found'}\nlibefa: {efa or 'found'}",
        expected="libibverbs where there are RDMA devices, libefa where one of them is EFA",
        fix="apt-get install libibverbs1 ibverbs-providers libefa1, or the packages of rdma-core "
        "of this distribution",
    )


def check_nics(host: Host) -> list[Finding]:
    """What each device says of itself, and which transport it can serve."""
    try:
        devices = probes.devices()
    except OSError as error:
        status = Status.CRITICAL if host.rdma_devices() else Status.OK
        return [_no_nic(status, f"not asked: {error}")]
    closed = sorted(set(host.rdma_devices()) - {device.name for device in devices})
    findings = [*map(_nic, devices), *map(_closed_nic, closed)]
    return findings or [_no_nic(Status.OK, "none")]


def check_registrations(host: Host) -> list[Finding]:
    """Limits, permissions and drivers are many; only a registration that was made is certain."""
    try:
        devices = [
            one for one in probes.devices() if _active(one) and one.transport in TRANSPORT_OF
        ]
    except OSError:
        devices = []
    if devices:
        return [_registration(host, device.name) for device in devices]
    return [_registration_finding("registration", Status.OK, "no device to try it with")]


def check_gpu_memory(host: Host) -> Finding:
    """A NIC reaches the memory of a GPU by a DMA-BUF, or by a module of the driver.

    Else rows of the low-latency mode are staged in memory of the host on their way between nodes.
    """
    modules = [name for name in ("nvidia_peermem", "nv_peer_mem") if host.has_module(name)]
    dma_buf = probes.cuda_dma_buf()
    driver = {
        "none": "no libcuda",
        "yes": "libcuda exports DMA-BUFs",
        "no": "libcuda exports no DMA-BUFs",
        "unordered": "the GPU may see what NICs write out of order",
    }
    gpus = host.names("dev", "nvidia[0-9]*")
    reachable = dma_buf == "yes" or (bool(modules) and dma_buf == "no")
    way = "NICs reach it" if reachable else "rows between nodes are staged in memory of the host"
    return Finding(
        "gpu memory",
        Status.WARN if gpus and host.rdma_devices() and not reachable else Status.OK,
        observed=f"{driver.get(dma_buf, f'libcuda: {dma_buf}')}; "
        f"{', '.join(modules) or 'nvidia_peermem'} {'is' if modules else 'is not'} loaded"
        f"{f'; {way}' if gpus else ''}",
        expected="DMA-BUFs or nvidia_peermem where NICs are to reach GPU memory",
        fix="use the open kernel modules of the driver on Linux 5.12 or newer, or "
        "modprobe nvidia_peermem",
    )


# ---- one device ---------------------------------------------------------------------------------


def _nic(device: DeviceFacts) -> Finding:
    status, serves, fix = _judged(device)
    vendor = f"vendor {device.vendor:#06x} part {device.part}"
    queues = f"{device.max_queue_pairs} QPs, queues of {device.max_queue_depth}"
    receives = f"{device.max_shared_receives} shared receives"
    lines = [
        f"{serves}; {vendor}, firmware {device.firmware or 'unknown'}",
        *(line for port in device.ports for line in _port_lines(port, _chosen(device))),
        f"limits: {queues}, CQs of {device.max_completions}, {receives}, atomics {device.atomics}",
    ]
    return Finding(
        f"nic {device.name}",
        status,
        observed="\n".join(lines),
        expected="an active port, and RC (verbs) or SRD with remote writes (efa)",
        fix=fix,
    )


def _judged(device: DeviceFacts) -> tuple[Status, str, str]:
    """How bad it is, what the device can serve, and what to do about it."""
    transport = TRANSPORT_OF.get(device.transport)
    if transport is None:
        kind = f"serves no transport ({device.transport})"
        return Status.WARN, kind, "none: crossdock uses RC or SRD, which this device lacks"
    if not _active(device):
        fix = "ip link set its interface up, see to cable and switch, and on InfiniBand to a "
        return Status.WARN, f"could serve {transport}: no active port", fix + "subnet manager"
    lack = _lack(device)
    if lack is not None:
        fix = "CROSSDOCK_TRANSPORT=tcp, or CROSSDOCK_RDMA_DEVICES with other devices"
        return Status.CRITICAL, f"cannot serve {transport}: {lack}", fix
    return Status.OK, f"serves {transport}", ""


def _lack(device: DeviceFacts) -> str | None:
    """What an active device lacks for its transport."""
    if device.transport == "srd":
        return _refusal(lambda: probes.need_remote_writes(device.name))
    return None if device.max_shared_receives > 0 else "no shared receive queue"


def _port_lines(port: PortFacts, chosen: tuple[str, int] | None) -> list[str]:
    def line(gid: GidFacts) -> str:
        mark = " (chosen)" if chosen == (str(port.number), gid.index) else ""
        return f"  GID {gid.index} {gid.type} {gid.text}{mark}"

    lid = f", LID {port.lid}" if port.lid else ""
    longest = f"messages to {size_text(port.max_message_bytes)}"
    head = f"port {port.number} {port.state}, {port.link_layer}, MTU {port.mtu_bytes}, {longest}"
    return [head + lid, *map(line, port.gids)]


def _chosen(device: DeviceFacts) -> tuple[str, int] | None:
    """The port and the index of the GID that a rank would use."""
    try:
        proof = probes.prove_registration(device.name, SMALL_BYTES)
    except OSError:
        return None  # the finding on registration says why
    return proof.nic.rpartition(":")[2], proof.gid_index


def _active(device: DeviceFacts) -> bool:
    return any(port.active for port in device.ports)


def _closed_nic(name: str) -> Finding:
    """The kernel has it, and it cannot be opened."""
    why = _refusal(lambda: probes.prove_registration(name, SMALL_BYTES))
    return Finding(
        f"nic {name}",
        Status.CRITICAL,
        observed=f"cannot be opened: {why or 'it was away for a moment'}",
        expected="every device of the kernel can be opened",
        fix="pass /dev/infiniband to the container, let this user read and write it, and install "
        "the provider of the device (ibverbs-providers)",
    )


def _no_nic(status: Status, observed: str) -> Finding:
    return Finding("nics", status, observed, NO_DEVICE, "see the lines on libraries and devices")


# ---- registration -------------------------------------------------------------------------------


def _registration(host: Host, device: str) -> Finding:
    name, heap = f"registration {device}", host.heap_bytes()
    small = _attempt(device, SMALL_BYTES)
    if small.refused:
        return _registration_finding(name, Status.CRITICAL, str(small))
    obstacle = _obstacle(host, heap)
    if obstacle is not None:
        status, why = obstacle
        text = f"{small}; {size_text(heap)} were not tried: {why}"
        return _registration_finding(name, status, text)
    large = _attempt(device, heap)
    status = Status.CRITICAL if large.refused else Status.OK
    return _registration_finding(name, status, f"{small}; {large}")


@dataclass(frozen=True)
class _Attempt:
    """A registration that was tried."""

    size: int
    pieces: int = 0
    refused: str | None = None

    def __str__(self) -> str:
        if self.refused:
            return self.refused
        pieces = "" if self.pieces == 1 else f" in {self.pieces} pieces"
        return f"{size_text(self.size)} registered{pieces}"


def _attempt(device: str, size: int) -> _Attempt:
    try:
        return _Attempt(size, pieces=probes.prove_registration(device, size).pieces)
    except OSError as error:
        return _Attempt(size, refused=_reason(error))


def _obstacle(host: Host, heap: int) -> tuple[Status, str] | None:
    """Why a heap should not be registered for a trial."""
    limit, available = host.memlock_limit(), host.available_bytes()
    granted = host.memory_limit()
    if limit is not None and limit < heap and not host.may_lock_memory():
        return Status.CRITICAL, f"this process may lock {size_text(limit)}"
    usable = available if granted is None else min(available, granted)
    if usable < heap + heap // 4:
        return Status.WARN, f"{size_text(usable)} of memory can be had now"
    return None


def _registration_finding(name: str, status: Status, observed: str) -> Finding:
    return Finding(
        name,
        status,
        observed,
        expected=f"{size_text(SMALL_BYTES)} and the heap of a rank can be registered",
        fix="ulimit -l unlimited (in a container --ulimit memlock=-1), or a smaller heap with "
        "CROSSDOCK_HEAP_BYTES",
    )


def _refusal(attempt: Callable[[], object]) -> str | None:
    """The reason why something does not work, None where it does."""
    try:
        attempt()
    except OSError as error:
        return _reason(error)
    return None


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
