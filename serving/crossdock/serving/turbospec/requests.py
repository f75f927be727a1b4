"""Where the counts of each request lie, so that a batch is read in one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable

_FIRST_SLOTS = 64


class Slots:
    """A place in arrays for each request that is known.

    Args:
        clear: is given a slot when a request begins in it.
    """

    def __init__(self, clear: Callable[[int], None]) -> None:
        self.of: dict[str, int] = {}
        """By request."""
        self._clear = clear
        self._size = 0
        self._free: list[int] = []

    def take(self, request: str) -> int:
        """Give a request that has none a slot."""
        if not self._free:
            more = max(self._size, _FIRST_SLOTS)
            self._free = list(range(self._size, self._size + more))
            self._size += more
        slot = self.of[request] = self._free.pop()
        self._clear(slot)
        return slot

    def forget(self, requests: Iterable[str]) -> None:
        """Free the slots of requests that ended; unknown ones are ignored."""
        for request in requests:
            slot = self.of.pop(request, None)
            if slot is not None:
                self._free.append(slot)
