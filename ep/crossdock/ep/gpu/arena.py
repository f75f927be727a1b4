"""Memory of the host in which kernels of the normal mode stage rows for proxies, and find them."""

from __future__ import annotations

from collections.abc import Sequence

from crossdock.ep.gpu.device import Device
from crossdock.proxy._native import Block
from crossdock.proxy.errors import CapacityError

_PAGE_BYTES = 4096
_PART_BYTES = 256


class Arena:
    """One stretch of the heap region, used by one call after another, which grows as they need.

    A graph remembers where the stretch was when it was captured: from then on none is given back
    before the Buffer ends.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._blocks: list[tuple[Block, int]] = []
        self._begin = 0
        self._size = 0
        self._captured = False

    def parts(self, sizes: Sequence[int]) -> list[int]:
        """Offsets in the heap region of parts of these sizes.

        Raises:
            CapacityError: the heap has no room; or a graph is being captured, in which nothing can
                be allocated, and no earlier call needed as much.
        """
        offsets, total = [], 0
        for size in sizes:
            offsets.append(total)
            total += -(-size // _PART_BYTES) * _PART_BYTES
        if self._device.platform.is_capturing():
            self._captured = True
            if total > self._size:
                raise CapacityError(
                    f"a graph is being captured, and the call stages {total} bytes, but "
                    f"{self._size} are there; make the call once before it is captured"
                )
        elif total > self._size:
            self._grow(total)
        return [self._begin + offset for offset in offsets]

    def _grow(self, least: int) -> None:
        if not self._captured:
            self._device.platform.synchronize()
            for address in [address for _, address in self._blocks]:
                self._device.unpin(address)
            self._blocks.clear()
        wanted = max(least, 2 * self._size)
        self._size = 0
        communicator = self._device.communicator
        try:
            block = communicator.allocate(wanted + 2 * _PAGE_BYTES)
        except CapacityError:
            wanted = least
            block = communicator.allocate(wanted + 2 * _PAGE_BYTES)
        heap = self._device.heap_address
        address = -(-(heap + block.offset) // _PAGE_BYTES) * _PAGE_BYTES
        self._device.pin(address, -(-wanted // _PAGE_BYTES) * _PAGE_BYTES)
        self._blocks.append((block, address))
        self._begin, self._size = address - heap, wanted
