"""The checks of one host: each looks at one thing and says what should be done about it."""

from __future__ import annotations

import re
from collections.abc import Callable

from crossdock.deploy.doctor import probes
from crossdock.deploy.doctor.findings import OUT_OF_FILES, Check, Finding, Status
from crossdock.deploy.doctor.host import Host, format_cpu_list
from crossdock.deploy.doctor.rdma_checks import (
    check_gpu_memory,
    check_libraries,
    check_nics,
    check_registrations,
)
from crossdock.deploy.doctor.sizes import GIB, size_text

KERNEL_EXPECTED = (5, 12)
RANK_BYTES = 2 * GIB
"""At DeepEP's shapes: a low-latency region of 1 GiB, and results of either mode."""
FILES_EXPECTED = 1024
"""Two Buffers of 64 ranks with 4 proxies each, 8 ranks on a host, and what torch has open."""
FILES_ADVISED = 65536
REGION_BYTES = GIB
"""At DeepEP's shapes, of the low-latency mode; it is registered as the heap is."""


def check_kernel(host: Host) -> Finding:
    """dma-buf registration of GPU memory came with 5.12."""
    release = host.kernel()
    version = re.match(r"(\d+)\.(\d+)", release)
    if version is None:
        raise ValueError(f"kernel release {release!r} is not major.minor")
    return Finding(
        "kernel",
        Status.OK if tuple(map(int, version.groups())) >= KERNEL_EXPECTED else Status.WARN,
        observed=release,
        expected="5.12 or newer, for dma-buf registration of device memory",
        fix="upgrade the kernel; without it GPU regions need the peer-memory module",
    )


def check_cpus(host: Host) -> Finding:
    """A poller and a device that share a core wait for each other's scheduler slice."""
    cpus, quota = host.cpus(), host.cpu_quota()
    usable = len(cpus) if quota is None else min(float(len(cpus)), quota)
    granted = "" if quota is None else f", control group grants {quota:g}"
    return Finding(
        "cpus",
        Status.OK if usable >= 2 else Status.WARN,
        observed=f"{len(cpus)} usable ({format_cpu_list(cpus)}){granted}",
        expected="2 or more for each rank: one for its device, one for each proxy thread",
        fix="widen the cpuset or the CPU limit, or use proxy_threads=0",
    )


def check_numa(host: Host) -> Finding:
    """Memory of another node than the CPU's costs bandwidth on every copy."""
    cpus, memory = host.cpus(), host.memory_nodes()
    own = {node: cpus & members for node, members in host.node_cpus().items() if cpus & members}
    foreign = set(own) - memory
    places = "; ".join(f"node {node}: {format_cpu_list(used)}" for node, used in own.items())
    return Finding(
        "numa",
        Status.WARN if foreign else Status.OK,
        observed=f"{places}; memory from node {format_cpu_list(memory)}",
        expected="memory allowed from every node whose CPUs are allowed",
        fix=f"add node {format_cpu_list(foreign)} to cpuset.mems" if foreign else "",
    )


def check_memlock(host: Host) -> Finding:
    """Registering a region with a NIC locks its pages."""
    limit, expected = host.memlock_limit(), host.heap_bytes() + REGION_BYTES
    enough = limit is None or limit >= expected or host.may_lock_memory()
    needed = bool(_uverbs(host))
    how = "unlimited" if limit is None else f"{size_text(limit)}"
    capability = ", lifted by CAP_IPC_LOCK" if host.may_lock_memory() else ""
    return Finding(
        "memlock",
        Status.CRITICAL if needed and not enough else Status.OK,
        observed=f"{how}{capability}",
        expected=f"{size_text(expected)} for RDMA devices (a heap of "
        f"{size_text(host.heap_bytes())} and a region), unlimited or CAP_IPC_LOCK",
        fix="ulimit -l unlimited; in a container --ulimit memlock=-1 or the capability IPC_LOCK; "
        "or a smaller heap with CROSSDOCK_HEAP_BYTES",
    )


def check_memory(host: Host) -> Finding:
    """Regions are memfds: the control group counts their touched pages, /dev/shm does not."""
    total, limit = host.memory_bytes(), host.memory_limit()
    usable = total if limit is None else min(total, limit)
    granted = "unlimited" if limit is None else f"limited to {size_text(limit)}"
    return Finding(
        "memory",
        Status.OK if usable >= 2 * RANK_BYTES else Status.WARN,
        observed=f"{size_text(total)}, control group {granted}",
        expected=f"{size_text(2 * RANK_BYTES)} or more, {size_text(RANK_BYTES)} for each rank at "
        "DeepEP's shapes; none of it is taken from /dev/shm",
        fix="raise memory.max; in a container --memory, or the limit on memory of its pod. "
        "CROSSDOCK_HEAP_BYTES makes a heap that is full an error, before the kernel ends a rank",
    )


def check_open_files(host: Host) -> Finding:
    """A Buffer holds descriptors of the memory and the process of neighbours, and sockets."""
    soft, hard = host.open_files_limits()
    low = soft is not None and soft < FILES_EXPECTED
    return Finding(
        "open files",
        Status.WARN if low else Status.OK,
        observed=f"{_count(soft)}, may be raised to {_count(hard)}",
        expected=f"{FILES_EXPECTED} or more; a Buffer takes 4 for each rank of its host, and over "
        "tcp proxies x connections for each rank",
        fix=_more_files(hard),
    )


def _more_files(hard: int | None) -> str:
    lasting = (
        f"in a container --ulimit nofile={FILES_ADVISED}, in a service LimitNOFILE={FILES_ADVISED}"
    )
    if hard is not None and hard < FILES_EXPECTED:
        return f"{lasting}, for a user nofile in /etc/security/limits.conf"
    most = FILES_ADVISED if hard is None else min(hard, FILES_ADVISED)
    return f"ulimit -n {most}; {lasting}"


def _count(limit: int | None) -> str:
    return "unlimited" if limit is None else str(limit)


def check_huge_pages(host: Host) -> Finding:
    """Regions of gigabytes in pages of 4 KiB miss the translation cache all the time."""
    reserved = {kib: count for kib, count in host.huge_pages().items() if count}
    private = host.transparent_huge_pages("enabled")
    shared = host.transparent_huge_pages("shmem_enabled")
    pools = ", ".join(f"{count} of {size_text(kib << 10)}" for kib, count in reserved.items())
    usable = bool(reserved) or shared in {"always", "within_size", "advise", "force"}
    return Finding(
        "huge pages",
        Status.OK if usable else Status.WARN,
        observed=f"reserved: {pools or 'none'}; transparent: {private or 'none'}, "
        f"for shared memory: {shared or 'none'}",
        expected="huge pages for shared memory, transparent or reserved",
        fix="echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled, "
        "or sysctl vm.nr_hugepages=1024",
    )


def check_rdma(host: Host) -> Finding:
    """A device that the kernel has but the container does not is invisible to verbs."""
    devices, uverbs = host.rdma_devices(), _uverbs(host)
    return Finding(
        "rdma",
        Status.CRITICAL if devices and not uverbs else Status.OK,
        observed=f"devices: {', '.join(devices) or 'none'}; "
        f"/dev/infiniband: {', '.join(uverbs) or 'none'}",
        expected="one /dev/infiniband/uverbs for each device; none is fine for shm and tcp",
        fix="pass the devices to the container: --device=/dev/infiniband, or the device plug-in",
    )


def check_gpus(host: Host) -> Finding:
    """A GPU whose device file is there but whose driver does not answer is a broken host."""
    files = host.names("dev", "nvidia[0-9]*")
    names = probes.gpu_names() if files else []
    return Finding(
        "gpus",
        Status.CRITICAL if files and not names else Status.OK,
        observed="; ".join(names) or (f"{len(files)} without a driver" if files else "none"),
        expected="a driver that answers for every GPU; none is fine for CPU tensors",
        fix="install nvidia-smi and the driver's libraries, or run the container with --gpus",
    )


def check_loopback(_host: Host) -> Finding:
    """The tcp transport and the bootstrap need at least the own host."""
    try:
        round_trip_us = probes.loopback_round_trip_us()
    except OSError as error:
        if error.errno in OUT_OF_FILES:
            raise
        return _loopback(Status.CRITICAL, f"no connection: {error}")
    return _loopback(Status.OK, f"round trip {round_trip_us:.0f} us")


def _loopback(status: Status, observed: str) -> Finding:
    return Finding(
        "tcp",
        status,
        observed=observed,
        expected="connections to 127.0.0.1 work",
        fix="ip link set lo up; allow the loopback interface in the firewall",
    )


def _probe(name: str, probe: Callable[[], None], expected: str, fix: str) -> Check:
    """A check that passes where the probe does not raise."""

    def ask(_host: Host) -> Finding:
        try:
            probe()
        except (OSError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno in OUT_OF_FILES:
                raise
            return Finding(name, Status.CRITICAL, f"refused: {error}", expected, fix)
        return Finding(name, Status.OK, "works", expected, fix)

    return Check(name, ask)


def _uverbs(host: Host) -> list[str]:
    return host.names("dev/infiniband", "uverbs*")


CHECKS = (
    Check("kernel", check_kernel),
    Check("cpus", check_cpus),
    Check("numa", check_numa),
    Check("memlock", check_memlock),
    Check("memory", check_memory),
    Check("open files", check_open_files),
    Check("huge pages", check_huge_pages),
    _probe(
        "memfd",
        probes.memfd,
        expected="memfd_create works: regions and rings are nameless shared memory",
        fix="allow memfd_create in the seccomp profile",
    ),
    _probe(
        "pidfd",
        probes.pidfd,
        expected="pidfd_open works: the end of a peer on this host is noticed at once",
        fix="a kernel of 5.3 or newer; allow pidfd_open in the seccomp profile",
    ),
    _probe(
        "peer memory",
        probes.peer_memory,
        expected="a process of the same user can open /proc/<pid>/fd of another",
        fix="run all ranks as one user in one PID namespace; mount /proc without hidepid",
    ),
    Check("tcp", check_loopback),
    Check("gpus", check_gpus),
    Check("gpu memory", check_gpu_memory),
    Check("rdma", check_rdma),
    Check("rdma libraries", check_libraries),
    Check("nics", check_nics),
    Check("registration", check_registrations),
)
