"""Policies that do not look: one length, or a table of lengths by batch size."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec import reasons
from crossdock.serving.turbospec.step import Batch, Plan, Step


class Table:
    """The length by the number of decoding requests, as in vLLM's dynamic schedule.

    Args:
        lengths: from a number of requests to the length that holds from there on; has 1.

    Raises:
        ArgumentError: the table does not begin at 1, or has a negative length.
    """

    def __init__(self, lengths: Mapping[int, int]) -> None:
        if min(lengths, default=0) != 1 or min(lengths.values()) < 0:
            raise ArgumentError(
                f"a table of lengths needs an entry for 1 request and no negative length, "
                f"got {dict(lengths)}"
            )
        self._starts = sorted(lengths)
        self._lengths = [lengths[start] for start in self._starts]

    def plan(self, batch: Batch) -> Plan:
        """The length of the table; predicts nothing."""
        place = max(0, bisect.bisect_right(self._starts, len(batch.requests)) - 1)
        length = self._lengths[place]
        verify = [length] * len(batch.requests)
        if batch.limits is not None:
            verify = [min(length, limit) for limit in batch.limits]
        return Plan(length, verify, reasons.FIXED, tokens=0.0, seconds=0.0)

    def observe(self, step: Step) -> None:
        """Nothing is learnt."""

    def forget(self, requests: Iterable[str]) -> None:
        """Nothing is kept."""


class Fixed(Table):
    """One length, whatever happens."""

    def __init__(self, length: int) -> None:
        super().__init__({1: length})
