"""Which drafts will be accepted: estimates for all requests by position, and for each request.

A request stops at its first rejection, so drafts behind it were never judged. Of those that were,
A were accepted and R rejected, and A / (A + R) is the maximum-likelihood estimate of the chance
that a draft is accepted once all before it are (a geometric law, truncated at the number of
drafts). The share of accepted among all drafts, which TurboSpec averages, is not: at a chance of
0.8 and five drafts it reads 0.54.

The arithmetic is in ``serving/csrc/acceptance.cc``; here is who is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from crossdock.serving.turbospec.requests import Slots
from crossdock.serving.turbospec.step import Verified

if TYPE_CHECKING:
    from crossdock.serving import _native


class Acceptance:
    """What is known of drafts so far.

    Args:
        max_draft: positions that a draft may have.
        memory: outcomes that the estimate for all requests rests on.
        request_memory: the same of a single request.

    Raises:
        ValueError: a memory is less than 1.
    """

    def __init__(self, max_draft: int, memory: float, request_memory: float) -> None:
        from crossdock.serving import _native

        self._core = _native.Acceptance(max_draft, memory, request_memory)
        self._slots = Slots(self._core.clear)

    @property
    def chance(self) -> float:
        """That a draft is accepted once all before it are; all requests and positions."""
        return self._core.chance

    @property
    def suspected(self) -> bool:
        """Whether more drafts seem to be accepted than was thought, though it is not sure yet."""
        return self._core.suspected

    @property
    def accepted(self) -> list[float]:
        """Weight of accepted outcomes by position; old ones fade."""
        return self._core.accepted

    @property
    def rejected(self) -> list[float]:
        """Weight of rejected outcomes by position."""
        return self._core.rejected

    def by_position(self) -> list[float]:
        """Chance of each position, drawn to the mean of all where little was seen."""
        return self._core.by_position

    def observe(self, verified: Verified) -> None:
        """Drafts of one step.

        Raises:
            ValueError: a number is below zero, or is missing.
        """
        self._core.observe(
            self._slots.of,
            self._slots.take,
            verified.requests,
            verified.drafts,
            verified.accepted,
        )

    def recall(self) -> None:
        """Go back to what held in the long run, as no more than a guess."""
        self._core.recall()

    def forget(self, requests: Iterable[str]) -> None:
        """These requests have ended; unknown ones are ignored."""
        self._slots.forget(requests)

    def of_requests(self, requests: Sequence[str]) -> list[float]:
        """Chance of each request, drawn to that of all as far as requests are alike."""
        return self._core.of_requests(self._slots.of, self._slots.take, requests)

    def groups(self, requests: Sequence[str], alike: bool = False) -> _native.Groups:
        """Requests of like chances together, until the next call.

        Args:
            requests: of a batch.
            alike: treat all as if they had the same chance.
        """
        return self._core.groups(self._slots.of, self._slots.take, requests, alike)
