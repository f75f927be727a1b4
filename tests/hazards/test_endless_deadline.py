"""A deadline so far away that no clock of nanoseconds holds it must not have passed already."""

from __future__ import annotations

import time

import pytest
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import EACH_WAY, built, check_both_modes, limit_low_latency

FAR_S = 1e10
LATE_S = 0.3


def wait_for_a_late_rank(
    rank: RankContext, transport: str, threads: int, limit: float, chosen: bool
) -> None:
    """With ``chosen`` the whole Buffer has the limit, else only the waits of its calls."""
    options = {"timeout_s": limit} if chosen else {}
    with built(rank, transport, threads, **options) as buffer:
        buffer._normal._timeout_s = limit
        limit_low_latency(buffer, limit)
        for late in range(2):
            if rank.rank == late:
                time.sleep(LATE_S)
            check_both_modes(buffer)


@EACH_WAY
def test_waits_of_calls(transport: str, threads: int) -> None:
    run_ranks(wait_for_a_late_rank, 2, transport, threads, FAR_S, False)


@pytest.mark.parametrize("threads", [0, 1])
def test_waits_of_a_buffer(threads: int) -> None:
    run_ranks(wait_for_a_late_rank, 2, "shm", threads, FAR_S, True)
