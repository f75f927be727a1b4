"""memcpy of the bytes that must move: the bound that no exchange within a host can beat.

Each rank copies as much as it receives, from memory that was touched before to memory that was
touched before, all ranks at once, with one call.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from crossdock.bench import _native
from crossdock.bench.schedule import Interval, timed

NAME = "memcpy"


class MemcpyContender:
    """Copies a number of bytes for each step."""

    name = NAME

    def __init__(self, step_bytes: Mapping[str, int]) -> None:
        self._bytes = step_bytes
        largest = max(step_bytes.values())
        self._source = torch.ones(largest, dtype=torch.uint8)
        self._destination = torch.zeros(largest, dtype=torch.uint8)

    def prepare(self, step: str) -> None:
        """Nothing to do."""

    def run(self, step: str) -> Interval:
        """See ``Contender.run``."""
        source, destination = self._source.data_ptr(), self._destination.data_ptr()
        return timed(lambda: _native.copies(source, destination, self._bytes[step], 1))

    def count_wrong(self, step: str) -> None:
        """Nothing to check."""

    def close(self) -> None:
        """Nothing to give back."""
