"""Memory of a rank's device that other ranks or NICs write into."""

from __future__ import annotations

import weakref

from crossdock.ep.gpu.platform import Platform

_ALIGNMENT = 1 << 16
"""What drivers export to NICs is whole pages, of 64 KiB at most."""


class Region:
    """Zeroed memory of the device, which is free again when nothing refers to this object.

    Args:
        size: bytes that are needed; there may be more.

    Raises:
        CapacityError: the device has no so much memory.
    """

    def __init__(self, platform: Platform, size: int) -> None:
        self.size = -(-size // _ALIGNMENT) * _ALIGNMENT
        self.address = platform.allocate(self.size)
        weakref.finalize(self, platform.free, self.address)
