"""The largest batch that fits, in few tries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Search:
    """Doubles while it fits, then halves what is between; each try is noted.

    Args:
        bytes_of: what a batch of so many samples takes; infinite where it does not fit at all.
        cap: the most that it may.
        most: the largest batch that is tried.
    """

    bytes_of: Callable[[int], float]
    cap: float
    most: int
    tries: list[tuple[int, float]] = field(default_factory=list)
    """Batch and its bytes."""
    fits: int = 0
    """The largest batch so far that is within the cap."""

    def run(self, told: Callable[[], None] = lambda: None) -> int:
        """The largest batch within the cap; 0 if not even one sample fits.

        `told` is called after each try.
        """
        over = self.most + 1
        while over - self.fits > 1:
            doubled = min(2 * self.fits or 1, self.most)
            batch = doubled if over > self.most else (self.fits + over) // 2
            if self._within(batch):
                self.fits = batch
            else:
                over = batch
            told()
        return self.fits

    def bytes_at(self, batch: int) -> float | None:
        """Of a batch that was tried."""
        return dict(self.tries).get(batch)

    def _within(self, batch: int) -> bool:
        taken = self.bytes_of(batch)
        self.tries.append((batch, taken))
        return taken <= self.cap
