"""How large the heap of a rank is when the user has not said."""

from __future__ import annotations

import os
import pathlib

from crossdock.proxy import schema

_REGISTERED_SHARE = 4
_REGISTERED_BYTES_MAX = 4 << 30
_CGROUP_LIMIT = pathlib.Path("/sys/fs/cgroup/memory.max")


def memory_bytes(limit_file: pathlib.Path = _CGROUP_LIMIT) -> int:
    """Memory that the processes of this host, or of its container, share."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(limit_file.read_text()))
    except (OSError, ValueError):  # no such limit, or "max"
        return physical


def default_heap_bytes(*, registered: bool, neighbours: int) -> int:
    """Bytes for the heap of one of ``neighbours`` ranks of a host.

    As much as could ever be used, since pages cost nothing until they are touched; but memory that
    is registered with a NIC is there from the start, so of that only a share.
    """
    memory = memory_bytes()
    if not registered:
        return min(schema.MAX_REGION_BYTES, memory)
    return min(_REGISTERED_BYTES_MAX, memory // _REGISTERED_SHARE // neighbours)
