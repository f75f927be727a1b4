"""What can be read from a Linux host. Checks judge; this only looks.

`root` and `proc_self` can point at a copy of the file trees, so that a test decides what the host
looks like.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from crossdock.proxy import heap_size
from crossdock.proxy.options import Options

CAP_IPC_LOCK = 14
UNLIMITED_BYTES = 1 << 62
"""Version 1 of control groups has no word for it, but a number near 2**63."""


@dataclass(frozen=True)
class Host:
    """The files of one host."""

    root: Path = field(default=Path("/"))

    def read(self, path: str) -> str | None:
        """The text of a file, None where there is no such file."""
        try:
            return (self.root / path).read_text().strip()
        except FileNotFoundError:
            return None

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        """The sorted names in a folder; none where there is no such folder."""
        return sorted(path.name for path in (self.root / folder).glob(pattern))

    def kernel(self) -> str:
        """The release of the running kernel."""
        return self.read("proc/sys/kernel/osrelease") or ""

    def process_status(self, field_name: str) -> str:
        """A field of this process's status."""
        for line in (self.read("proc/self/status") or "").splitlines():
            name, _, value = line.partition(":")
            if name == field_name:
                return value.strip()
        raise ValueError(f"/proc/self/status has no line {field_name}")

    def cpus(self) -> set[int]:
        """The CPUs that this process may use: the kernel folds cpuset and affinity into one."""
        return parse_cpu_list(self.process_status("Cpus_allowed_list"))

    def cpu_quota(self) -> float | None:
        """How many CPUs' worth of time the control group grants; None where it is unlimited."""
        quota, _, period = (self.read("sys/fs/cgroup/cpu.max") or "max 100000").partition(" ")
        return None if quota == "max" else int(quota) / int(period)

    def node_cpus(self) -> dict[int, set[int]]:
        """The CPUs of each NUMA node; one node of all CPUs where the kernel knows no NUMA."""
        folder = "sys/devices/system/node"
        nodes = {
            int(name.removeprefix("node")): parse_cpu_list(
                self.read(f"{folder}/{name}/cpulist") or ""
            )
            for name in self.names(folder, "node[0-9]*")
        }
        return nodes or {0: self.cpus()}

    def memory_nodes(self) -> set[int]:
        """The NUMA nodes from which this process may take memory."""
        return parse_cpu_list(self.process_status("Mems_allowed_list"))

    def may_lock_memory(self) -> bool:
        """Whether the capability CAP_IPC_LOCK lifts the limit on locked memory."""
        return bool(int(self.process_status("CapEff"), 16) >> CAP_IPC_LOCK & 1)

    def memlock_limit(self) -> int | None:
        """The soft limit on locked memory in bytes; None where it is unlimited."""
        return _limits(resource.RLIMIT_MEMLOCK)[0]

    def heap_bytes(self) -> int:
        """The heap that a rank registers when it is alone on this host."""
        chosen = Options.from_environment().heap_bytes
        return chosen or heap_size.default_heap_bytes(registered=True, neighbours=1)

    def rdma_devices(self) -> list[str]:
        """The RDMA devices that the kernel has, whether or not they can be opened."""
        return self.names("sys/class/infiniband")

    def has_module(self, name: str) -> bool:
        """Whether a kernel module is loaded, or built in with parameters."""
        return bool(self.names("sys/module", name))

    def open_files_limits(self) -> tuple[int | None, int | None]:
        """How many files a process may have open, and how far it may raise that."""
        return _limits(resource.RLIMIT_NOFILE)

    def memory_bytes(self) -> int:
        """All memory of the host."""
        return self._memory("MemTotal")

    def available_bytes(self) -> int:
        """Memory that can be taken without swapping, as far as the host decides it."""
        return self._memory("MemAvailable")

    def _memory(self, field_name: str) -> int:
        for line in (self.read("proc/meminfo") or "").splitlines():
            name, _, value = line.partition(":")
            if name == field_name:
                return int(value.split()[0]) << 10
        raise ValueError(f"/proc/meminfo has no line {field_name}")

    def memory_limit(self) -> int | None:
        """What the control group grants, in bytes; None where it is unlimited."""
        limits = [int(text) for text in self._memory_limits() if text and text != "max"]
        least = min(limits, default=UNLIMITED_BYTES)
        return None if least >= UNLIMITED_BYTES else least

    def _memory_limits(self) -> Iterator[str | None]:
        """The limits of this process's group and of all groups above it, of version 1 and 2."""
        for line in (self.read("proc/self/cgroup") or "").splitlines():
            _, controllers, name = line.split(":", 2)
            if not controllers:
                mount, file = "sys/fs/cgroup", "memory.max"
            elif "memory" in controllers.split(","):
                mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
            else:
                continue
            # A container may not see the folders of its own group; its limits are at the top then.
            group = PurePosixPath(name.lstrip("/"))
            for folder in (group, *group.parents):
                if ".." not in folder.parts:
                    yield self.read(f"{mount}/{folder}/{file}")

    def huge_pages(self) -> dict[int, int]:
        """Reserved huge pages that are free, by page size in KiB."""
        folder = "sys/kernel/mm/hugepages"
        return {
            int(name.removeprefix("hugepages-").removesuffix("kB")): int(
                self.read(f"{folder}/{name}/free_hugepages") or 0
            )
            for name in self.names(folder, "hugepages-*kB")
        }

    def transparent_huge_pages(self, kind: str = "enabled") -> str:
        """The chosen mode, `[madvise]` in the file; empty where the kernel has none."""
        text = self.read(f"sys/kernel/mm/transparent_hugepage/{kind}") or ""
        return text.partition("[")[2].partition("]")[0]


def _limits(kind: int) -> tuple[int | None, int | None]:
    """The soft and the hard limit on a resource; None where it is unlimited."""
    soft, hard = resource.getrlimit(kind)
    return (
        None if soft == resource.RLIM_INFINITY else soft,
        None if hard == resource.RLIM_INFINITY else hard,
    )


def parse_cpu_list(text: str) -> set[int]:
    """`0-3,8` as a set."""
    members: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        members.update(range(int(first), int(last or first) + 1))
    return members


def format_cpu_list(members: set[int]) -> str:
    """A set as `0-3,8`."""
    parts: list[str] = []
    run: list[int] = []
    for member in [*sorted(members), None]:
        if run and member != run[-1] + 1:
            parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
            run = []
        if member is not None:
            run.append(member)
    return ",".join(parts)
