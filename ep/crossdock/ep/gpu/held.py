"""What kernels use, and what has to be given back once they have ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from crossdock.ep.gpu.platform import Platform
from crossdock.ep.gpu.writers import Visit
from crossdock.ep.kernels import view as table

PAGE_BYTES = 4096
_GRACE_S = 0.5
"""For kernels to end by themselves."""
_PATIENCE_S = 2.0
"""For kernels to end that were told to."""
_log = logging.getLogger(__name__)
_unfinished: list[Held] = []
"""What kernels that did not end may still use: until the process ends."""


class Held:
    """Pinned memory, memory of neighbours, and whatever else kernels have the addresses of."""

    def __init__(self, platform: Platform, rank: int) -> None:
        self._platform = platform
        self._rank = rank
        self._pinned: list[int] = []
        self._control: torch.Tensor | None = None
        self.visits: list[Visit] = []
        self.used: list[object] = []
        """Kept as long as kernels may run."""

    def control(self, words: int) -> torch.Tensor:
        """int32 [words] of the host that kernels see."""
        pages = -(-4 * words // PAGE_BYTES) + 1
        whole = torch.zeros(pages * PAGE_BYTES, dtype=torch.uint8, device="cpu")
        skip = -whole.data_ptr() % PAGE_BYTES
        control = whole[skip : skip + 4 * words].view(torch.int32)
        self.pin(control.data_ptr(), (pages - 1) * PAGE_BYTES)
        self._control = control
        return control

    def pin(self, address: int, size: int) -> None:
        """Let kernels use memory of the host."""
        self._platform.pin(address, size)
        self._pinned.append(address)

    def unpin(self, address: int) -> None:
        """Undo ``pin``."""
        self._pinned.remove(address)
        self._platform.unpin(address)

    def release(self, patience_s: float = _PATIENCE_S) -> bool:
        """End the waits of kernels that do not end by themselves, and give all back. Idempotent.

        Returns:
            False when kernels still run after ``patience_s``: then all is kept for good, and no
            neighbour is told that this rank does not write any more.
        """
        if not self._platform.rests(_GRACE_S):
            if self._control is not None:
                self._control[table.STOP.value] = table.GIVE_UP.value
            if not self._platform.rests(patience_s):
                self.keep(patience_s)
                return False
        while self.visits:
            self.visits.pop().close()
        while self._pinned:
            self._platform.unpin(self._pinned.pop())
        self.used.clear()
        return True

    def keep(self, patience_s: float) -> None:
        """Give nothing back before the process ends: kernels have not ended in time."""
        _unfinished.append(self)
        _log.warning(
            "rank %d: kernels still run %g s after the end of their Buffer, perhaps others that "
            "wait for a rank that is gone; what they may use is kept until the process ends",
            self._rank,
            patience_s,
        )


def whole_pages(stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Address and size of the pages in which stretches of memory lie; no page twice."""
    found: list[tuple[int, int]] = []
    for address, size in sorted(stretches):
        if not size:
            continue
        begin = address // PAGE_BYTES * PAGE_BYTES
        end = -(-(address + size) // PAGE_BYTES) * PAGE_BYTES
        if found and begin < sum(found[-1]):
            begin, before = found.pop()
            end = max(end, begin + before)
        found.append((begin, end - begin))
    return found
