"""What a figure depends on beside the code: the machine, the versions, the revision."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec

from crossdock.proxy.provenance import UNKNOWN, library_version

LIBRARIES = ("crossdock", "torch", "numpy", "mpi4py")


class Machine(msgspec.Struct, frozen=True):
    """The machine as this process sees it."""

    cpu: str
    cores: int
    cpuset: tuple[int, ...]
    memory_bytes: int
    kernel: str
    architecture: str
    load: tuple[float, float, float]
    """Load averages when the run began: others at work make every figure worse."""


def machine() -> Machine:
    """The facts about this machine, now."""
    return Machine(
        cpu=_cpu_name(),
        cores=os.cpu_count() or 0,
        cpuset=cpuset(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        architecture=platform.machine(),
        load=os.getloadavg(),
    )


def cpuset() -> tuple[int, ...]:
    """The cores that this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that take part."""
    return {
        "python": platform.python_version(),
        **{name: library_version(name) for name in LIBRARIES},
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return UNKNOWN
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), UNKNOWN
    )
