"""Where ranks are: which share a host or a node, and which cores are whose."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
from collections.abc import Sequence

MAX_DEFAULT_THREADS = 4
_BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")
_NUMA_NODES = pathlib.Path("/sys/devices/system/node")


def host_identity() -> str:
    """A name that exactly the processes of one running host, or container, share."""
    boot = ""
    with contextlib.suppress(OSError):
        boot = _BOOT_ID.read_text().strip()
    return f"{boot}:{socket.gethostname()}"


def numbered(names: Sequence[str]) -> tuple[int, ...]:
    """A number for each name: 0 for the first, and one more whenever a new name appears."""
    numbers: dict[str, int] = {}
    return tuple(numbers.setdefault(name, len(numbers)) for name in names)


def allowed_cpus() -> tuple[int, ...]:
    """The cores that this process may run on."""
    return tuple(sorted(os.sched_getaffinity(0)))


def numa_nodes(root: pathlib.Path = _NUMA_NODES) -> dict[int, int]:
    """The NUMA node of each core; empty where the kernel does not say."""
    nodes: dict[int, int] = {}
    for folder in sorted(root.glob("node[0-9]*")):
        with contextlib.suppress(OSError, ValueError):
            for cpu in parsed_cpu_list((folder / "cpulist").read_text()):
                nodes[cpu] = int(folder.name.removeprefix("node"))
    return nodes


def parsed_cpu_list(text: str) -> list[int]:
    """The cores in a list as the kernel writes it: ``0-3,8``."""
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def share_of_cpus(
    rank: int, hosts: Sequence[str], cpusets: Sequence[Sequence[int]], numa: dict[int, int]
) -> tuple[int, ...]:
    """The cores that are for ``rank`` alone.

    Ranks of one host that have the same cpuset divide it evenly, in order of rank and NUMA node.
    Empty when there are fewer cores than ranks, or when cpusets overlap in part: then nobody can
    tell what is free.
    """
    mine = frozenset(cpusets[rank])
    siblings = []
    for other, (host, cpus) in enumerate(zip(hosts, cpusets, strict=True)):
        if host != hosts[rank] or mine.isdisjoint(cpus):
            continue
        if frozenset(cpus) != mine:
            return ()
        siblings.append(other)
    ordered = sorted(mine, key=lambda cpu: (numa.get(cpu, 0), cpu))
    each = len(ordered) // len(siblings) if siblings else 0
    first = siblings.index(rank) * each if each else 0
    return tuple(ordered[first : first + each])


def threads_for(wanted: int | None, share: Sequence[int]) -> int:
    """Proxy threads of a rank: what is wanted, or what its cores allow beside the rank itself."""
    if wanted is not None:
        return wanted
    return max(0, min(MAX_DEFAULT_THREADS, len(share) - 1))


def cpus_for(threads: int, share: Sequence[int]) -> tuple[int, ...]:
    """A core for each proxy thread, the last ones of the share; none when there are too few."""
    if not 0 < threads < len(share):
        return ()
    return tuple(share[len(share) - threads :])
