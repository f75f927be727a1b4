"""Memory of a rank's device that other ranks or NICs write into."""

from __future__ import annotations

import dataclasses
import logging
import weakref

import torch

from crossdock.ep.gpu.platform import Platform
from crossdock.ep.gpu.writers import Writer, not_done

_ALIGNMENT = 1 << 16
"""What drivers export to NICs is whole pages, of 64 KiB at most."""
_log = logging.getLogger(__name__)


class Region:
    """Zeroed memory of the device. It is free again when nothing refers to this object, and no
    neighbour writes into it any more; the end of the process frees what is left.

    Args:
        size: bytes that are needed; there may be more.

    Raises:
        CapacityError: the device has no so much memory.
    """

    def __init__(self, platform: Platform, size: int) -> None:
        free_what_was_kept()
        self.size = -(-size // _ALIGNMENT) * _ALIGNMENT
        self.address = platform.allocate(self.size)
        self._platform = platform
        memory = _Memory(platform, self.address, self.size)
        self.writers = memory.writers
        """Neighbours that have it open."""
        weakref.finalize(self, _give_back, memory).atexit = False

    def bytes(self) -> torch.Tensor:
        """uint8 [size] over it; the tensor and its views keep the memory."""
        return self._platform.bytes_at(self.address, self.size, self)


@dataclasses.dataclass(eq=False)
class _Memory:
    """What is left of a region that nothing here refers to."""

    platform: Platform
    address: int
    size: int
    writers: list[Writer] = dataclasses.field(default_factory=list)


_kept: list[_Memory] = []


def _give_back(memory: _Memory) -> None:
    ranks = not_done(memory.writers)
    if not ranks:
        memory.platform.free(memory.address)
        return
    _kept.append(memory)
    _log.warning(
        "%d bytes of this rank's device are kept: rank(s) %s may still write into them; they are "
        "free again when those ranks have destroyed their Buffers or ended, and this process "
        "builds or destroys another one",
        memory.size,
        ", ".join(map(str, ranks)),
    )


def free_what_was_kept() -> None:
    """Give back what was kept because of neighbours that do not write any more."""
    for memory in list(_kept):
        if not_done(memory.writers):
            continue
        try:
            _kept.remove(memory)
        except ValueError:  # another thread has it
            continue
        memory.platform.free(memory.address)
