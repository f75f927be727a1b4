"""A meeting about memory of the device that fails half-way."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ep.gpu.lives import PAIR, SIZE, Pins, Warnings, is_all_given_back
from tests.ep.worlds import INTERPRETED, build
from tests.harness import RankContext, run_ranks

from crossdock.ep.gpu import peers
from crossdock.ep.gpu.platform import InterpreterPlatform
from crossdock.proxy.errors import CrossdockError, DeadlineExceeded

DEADLINE_S = 2.0


class Refused(CrossdockError):
    """By rank 1, which has offered its memory, and opened that of rank 0."""


def refuse(*_: object) -> Any:
    raise Refused


def fail_half_way(rank: RankContext) -> None:
    """What rank 1 has offered, rank 0 has open until its own meeting fails."""
    platforms: list[InterpreterPlatform] = []
    share = InterpreterPlatform.share

    def noted(platform: InterpreterPlatform, address: int) -> bytes:
        platforms.append(platform)
        return share(platform, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(InterpreterPlatform, "share", noted)
    if rank.rank == 1:
        patch.setattr(peers, "_both", refuse)
    warnings, pins = Warnings(), Pins()
    error = Refused if rank.rank == 1 else DeadlineExceeded
    with pytest.raises(error) as caught:
        build(rank, PAIR, device="interpreter", timeout_s=DEADLINE_S)
    assert pins.calls == 0
    (platform,) = platforms
    if rank.rank == 1:
        assert len(platform._memory) == 1, "its own, and not what it had opened"
        assert sum("rank(s) 0 may still write" in text for text in warnings.texts) == 1
    rank.exchange("pace").all_gather(b"", 20)
    assert is_all_given_back(platform)
    assert caught.value is not None, "and it is still referred to"


def test_what_was_offered_is_kept_until_the_others_have_closed_it() -> None:
    run_ranks(fail_half_way, SIZE, environment=INTERPRETED)
