"""Counts of outcomes of each request, in arrays, so that a batch is read in one step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from crossdock.serving.turbospec.cost import Floats

_FIRST_SLOTS = 64
_KEPT = 2
"""Batches whose slots are kept: the one that is planned and the one whose results are there stay
the same for many steps."""

_Batch = tuple[list[str], np.ndarray]


class Slots:
    """A place in arrays for each request that is known."""

    def __init__(self) -> None:
        self.good: Floats = np.zeros(_FIRST_SLOTS)
        """Accepted drafts of the request in a slot; old ones fade."""
        self.bad: Floats = np.zeros(_FIRST_SLOTS)
        """Rejected ones."""
        self._of: dict[str, int] = {}
        self._free = list(range(_FIRST_SLOTS))
        self._last: list[_Batch] = []

    def __len__(self) -> int:
        return len(self._of)

    def of(self, requests: Sequence[str]) -> np.ndarray:
        """The slots of requests; a new one gets a free one."""
        for last, slots in self._last:
            if last == requests:
                return slots
        for request in requests:
            if request not in self._of:
                self._of[request] = self._take()
        slots = np.fromiter(map(self._of.__getitem__, requests), np.intp, len(requests))
        self._last = [(list(requests), slots), *self._last[: _KEPT - 1]]
        return slots

    def add(
        self, slots: np.ndarray, accepted: np.ndarray, missed: np.ndarray, memory: float
    ) -> None:
        """Outcomes of one step: drafts accepted, and whether one was rejected after them."""
        keep = np.maximum(0.0, 1.0 - (accepted + missed) / memory)
        self.good[slots] = self.good[slots] * keep + accepted
        self.bad[slots] = self.bad[slots] * keep + missed

    def fade(self, keep: float) -> None:
        """Weaken what is known of all requests."""
        self.good *= keep
        self.bad *= keep

    def forget(self, requests: Iterable[str]) -> None:
        """Free the slots of requests that ended; unknown ones are ignored."""
        for request in requests:
            slot = self._of.pop(request, None)
            if slot is not None:
                self._free.append(slot)
                self._last = []

    def _take(self) -> int:
        if not self._free:
            size = len(self.good)
            self.good = np.concatenate((self.good, np.zeros(size)))
            self.bad = np.concatenate((self.bad, np.zeros(size)))
            self._free = list(range(size, 2 * size))
        slot = self._free.pop()
        self.good[slot] = self.bad[slot] = 0.0
        return slot
